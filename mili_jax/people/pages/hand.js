// A hand that mouse, touch, keys and gamepad move together: where it is, how it is turned, what its
// fingers want, and whether it holds the clutch. In the table's frame: x right, y away, z up.

const SPEED = 0.2; // m/s of a key or a stick at its end
const SLOW = 0.25; // with Shift
const TURN = 1.4; // rad/s
const MOST = 0.025; // m that it goes between two messages: more would be taken for a jump
const LINGER = 450; // ms that the world goes on after a turn of the wheel
const FINGERS = 800; // ms that the fingers need

const KEYS = {
  KeyW: [0, 1, 0, 0], ArrowUp: [0, 1, 0, 0],
  KeyS: [0, -1, 0, 0], ArrowDown: [0, -1, 0, 0],
  KeyA: [-1, 0, 0, 0], ArrowLeft: [-1, 0, 0, 0],
  KeyD: [1, 0, 0, 0], ArrowRight: [1, 0, 0, 0],
  KeyR: [0, 0, 1, 0], PageUp: [0, 0, 1, 0],
  KeyF: [0, 0, -1, 0], PageDown: [0, 0, -1, 0],
  KeyQ: [0, 0, 0, 1], KeyE: [0, 0, 0, -1],
  KeyH: [0, 0, 0, 0],
};
const BUTTONS = { up: "KeyR", down: "KeyF", left: "KeyQ", right: "KeyE" };

export class Hand {
  constructor(picture, buttons) {
    this.place = [0, 0, 0];
    this.yaw = 0;
    this.opening = 1;
    this.span = 0.7; // m that the picture's height shows
    this.down = new Set(); // of keys and of buttons on the page
    this.shift = false;
    this.pointer = null;
    this.owed = [0, 0, 0]; // m that mouse and wheel still ask for
    this.until = 0;
    this.stick = null; // of a gamepad: {motion: [x, y, z, turn], held}
    this.before = null; // the opening that a press has to begin with
    this.watchPointer(picture);
    this.watchButtons(buttons);
    for (const type of ["blur", "pagehide"]) window.addEventListener(type, () => this.let());
    document.addEventListener("visibilitychange", () => document.hidden && this.let());
  }

  let() {
    this.down.clear();
    this.pointer = null;
    this.owed = [0, 0, 0];
    this.until = 0;
    this.stick = null;
  }

  // Whether a key is one of a hand's.
  key(event, pressed) {
    this.shift = event.shiftKey;
    if (!(event.code in KEYS)) return false;
    if (pressed) this.down.add(event.code);
    else this.down.delete(event.code);
    return true;
  }

  grip(opening = this.opening > 0.5 ? 0 : 1) {
    if (opening === this.opening) return;
    this.before ??= this.opening;
    this.opening = opening;
    this.until = Math.max(this.until, performance.now() + FINGERS);
  }

  watchPointer(picture) {
    picture.addEventListener("contextmenu", (event) => event.preventDefault());
    picture.addEventListener("pointerdown", (event) => {
      picture.focus({ preventScroll: true });
      if (event.button === 2) return this.grip();
      if (event.button !== 0 || this.pointer) return;
      try {
        picture.setPointerCapture(event.pointerId);
      } catch { /* it is gone already */ }
      this.pointer = { id: event.pointerId, x: event.clientX, y: event.clientY };
      event.preventDefault();
    });
    picture.addEventListener("pointermove", (event) => {
      if (event.button === 2 && event.buttons & 2) this.grip(); // beside the left one
      if (!this.pointer || event.pointerId !== this.pointer.id) return;
      const scale = this.span / picture.clientHeight;
      this.owed[0] += (event.clientX - this.pointer.x) * scale;
      this.owed[1] -= ((event.clientY - this.pointer.y) * scale) / 0.67; // it is seen aslant
      this.pointer.x = event.clientX;
      this.pointer.y = event.clientY;
    });
    const up = (event) => {
      if (this.pointer && event.pointerId === this.pointer.id && !(event.buttons & 1)) {
        this.pointer = null;
        this.owed = [0, 0, 0];
      }
    };
    picture.addEventListener("pointerup", up);
    picture.addEventListener("pointercancel", up);
    picture.addEventListener("lostpointercapture", up);
    picture.addEventListener("wheel", (event) => {
      event.preventDefault();
      const lines = event.deltaMode === 1 ? 33 : 1;
      this.owed[2] -= Math.max(-150, Math.min(150, event.deltaY * lines)) * 2.5e-4;
      this.until = Math.max(this.until, performance.now() + LINGER);
    }, { passive: false });
  }

  watchButtons(buttons) {
    for (const button of buttons) {
      const code = BUTTONS[button.dataset.move];
      button.addEventListener("pointerdown", (event) => {
        button.setPointerCapture(event.pointerId);
        this.down.add(code);
        event.preventDefault();
      });
      for (const type of ["pointerup", "pointercancel", "lostpointercapture"]) {
        button.addEventListener(type, () => this.down.delete(code));
      }
      button.addEventListener("contextmenu", (event) => event.preventDefault());
    }
  }

  get held() {
    const lingers = performance.now() < this.until;
    return Boolean(this.pointer || this.down.size || lingers || this.stick?.held);
  }

  // Goes on by some seconds; the messages that say so.
  move(seconds) {
    const rate = [0, 0, 0, 0];
    for (const code of this.down) KEYS[code].forEach((v, i) => (rate[i] += v));
    if (this.stick) this.stick.motion.forEach((v, i) => (rate[i] += v));
    const slow = this.shift ? SLOW : 1;
    for (let i = 0; i < 3; i++) {
      const owed = Math.max(-MOST, Math.min(MOST, this.owed[i]));
      this.owed[i] -= owed;
      const keys = Math.max(-1, Math.min(1, rate[i])) * SPEED * slow * seconds;
      this.place[i] += Math.max(-MOST, Math.min(MOST, owed + keys));
    }
    this.yaw += Math.max(-1, Math.min(1, rate[3])) * TURN * slow * seconds;
    const said = [];
    if (this.before !== null) said.push(this.said(this.before));
    this.before = null;
    said.push(this.said(this.opening));
    return said;
  }

  said(opening) {
    const turn = [0, 0, Math.sin(this.yaw / 2), Math.cos(this.yaw / 2)];
    return { held: true, place: [...this.place], turn, opening, frame: "table" };
  }
}
