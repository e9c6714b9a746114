// A gamepad of the standard layout as a hand's stick, and its buttons.

const DEAD = 0.15; // of a stick's travel that counts as rest

export class Pad {
  // actions: {grip, finish, discard}
  constructor(hand, actions) {
    this.hand = hand;
    this.actions = actions;
    this.pressed = new Set();
    this.name = "";
  }

  // Looks at the first gamepad that is there; browsers show none before a button of it was pressed.
  look() {
    const pads = navigator.getGamepads ? [...navigator.getGamepads()] : [];
    const pad = pads.find((p) => p && p.connected !== false && p.axes.length >= 2);
    this.name = pad ? pad.id : "";
    if (!pad) {
      this.hand.stick = null;
      return;
    }
    const axis = (i) => {
      const v = Number(pad.axes[i]) || 0;
      return Math.abs(v) < DEAD ? 0 : v;
    };
    const motion = [axis(0), -axis(1), -axis(3), -axis(2)];
    const down = (i) => Boolean(pad.buttons[i]?.pressed);
    this.hand.stick = { motion, held: motion.some(Boolean) || down(5) };
    this.once(0, down(0), this.actions.grip);
    this.once(9, down(9), this.actions.finish);
    this.once(8, down(8), this.actions.discard);
  }

  once(button, down, action) {
    if (down && !this.pressed.has(button)) action();
    if (down) this.pressed.add(button);
    else this.pressed.delete(button);
  }
}
