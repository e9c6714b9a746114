// A headset by WebXR: the picture on a screen in the room, and a controller as the person's hand.

const EVERY = 20; // ms between two messages
const WIDE = 1.6; // m of the screen in the room
const AWAY = 1.6; // m from the person
const SQUEEZE = 1;
const TRIGGER = 0;
const FINISH = 4; // A or X
const PAUSE = 5; // B or Y

const VERTEX = `
attribute vec2 corner;
uniform mat4 eye;
uniform vec4 box;
varying vec2 at;
void main() {
  at = vec2(corner.x, 1.0 - corner.y);
  gl_Position = eye * vec4((corner - 0.5) * box.xy + vec2(0.0, box.z), box.w, 1.0);
}`;
const FRAGMENT = `
precision mediump float;
uniform sampler2D picture;
varying vec2 at;
void main() { gl_FragColor = texture2D(picture, at); }`;

export class Headset {
  // actions: {send, finish, pause}
  constructor(actions) {
    this.actions = actions;
    this.session = null;
    this.there = false;
    this.pressed = new Set();
    this.wasHeld = false;
    this.said = 0;
    this.board = document.createElement("canvas"); // the picture with the state under it
    this.board.width = 768;
    this.board.height = 640;
    this.changed = false;
  }

  get on() {
    return this.session !== null;
  }

  // Shows whether there is a headset, and why not.
  async offer(button, words) {
    let why = "";
    if (!navigator.xr) {
      why = window.isSecureContext
        ? "This browser has no WebXR, so it knows no headset. Mouse, keys and gamepad work."
        : "WebXR needs https or an address on this machine. Mouse, keys and gamepad work.";
    } else {
      const has = await navigator.xr.isSessionSupported("immersive-vr").catch(() => false);
      if (!has) why = "No headset is connected. Mouse, keys and gamepad work.";
    }
    words.textContent = why || "A headset is there.";
    button.title = why;
    this.there = !why;
    button.disabled = !this.there;
    button.addEventListener("click", () => this.start(button, words));
  }

  async start(button, words) {
    if (this.session) return void this.session.end();
    try {
      const session = await navigator.xr.requestSession("immersive-vr");
      const canvas = document.createElement("canvas");
      const gl = canvas.getContext("webgl", { xrCompatible: true });
      this.prepare(gl);
      await session.updateRenderState({ baseLayer: new XRWebGLLayer(session, gl) });
      this.space = await session.requestReferenceSpace("local");
      this.session = session;
      session.addEventListener("end", () => {
        this.session = null;
        this.release();
        button.textContent = "Headset";
      });
      button.textContent = "Leave headset";
      session.requestAnimationFrame((time, frame) => this.frame(gl, time, frame));
    } catch (error) {
      words.textContent = `The headset cannot be used: ${error.message}`;
      button.title = words.textContent;
    }
  }

  // The newest picture, a canvas, and what it is, in words.
  picture(canvas, words) {
    if (!this.session) return;
    const brush = this.board.getContext("2d");
    brush.fillStyle = "#17191c";
    brush.fillRect(0, 0, this.board.width, this.board.height);
    brush.drawImage(canvas, 0, 0, 768, 576);
    brush.fillStyle = "#e9eaec";
    brush.font = "32px sans-serif";
    brush.fillText(words, 24, 620, 720);
    this.changed = true;
  }

  frame(gl, time, frame) {
    const session = this.session;
    if (!session) return;
    session.requestAnimationFrame((t, f) => this.frame(gl, t, f));
    if (performance.now() - this.said >= EVERY) this.hands(session, frame);
    const seen = frame.getViewerPose(this.space);
    const layer = session.renderState.baseLayer;
    if (seen && layer) this.draw(gl, layer, seen);
  }

  // The right controller if there is one, else any.
  hands(session, frame) {
    const found = [...session.inputSources].filter((source) => source.gripSpace && source.gamepad);
    const source = found.find((one) => one.handedness === "right") ?? found[0];
    const pose = source && frame.getPose(source.gripSpace, this.space);
    if (!pose) return this.release();
    const { position: p, orientation: q } = pose.transform;
    const buttons = source.gamepad.buttons;
    const held = Boolean(buttons[SQUEEZE]?.pressed || buttons[SQUEEZE]?.value > 0.5);
    this.last = {
      place: [p.x, p.y, p.z],
      turn: [q.x, q.y, q.z, q.w],
      opening: 1 - Math.min(1, Math.max(0, buttons[TRIGGER]?.value ?? 0)),
      frame: "xr",
    };
    if (held || this.wasHeld) {
      this.said = performance.now();
      this.actions.send({ ...this.last, held });
    }
    this.wasHeld = held;
    this.once(FINISH, buttons[FINISH]?.pressed, this.actions.finish);
    this.once(PAUSE, buttons[PAUSE]?.pressed, this.actions.pause);
  }

  release() {
    if (this.wasHeld && this.last) this.actions.send({ ...this.last, held: false });
    this.wasHeld = false;
  }

  once(button, down, action) {
    if (down && !this.pressed.has(button)) action();
    if (down) this.pressed.add(button);
    else this.pressed.delete(button);
  }

  // Drawing: one square with one picture on it

  prepare(gl) {
    const program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    gl.useProgram(program);
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ARRAY_BUFFER, new Float32Array([0, 0, 1, 0, 0, 1, 1, 1]), gl.STATIC_DRAW);
    gl.enableVertexAttribArray(gl.getAttribLocation(program, "corner"));
    gl.vertexAttribPointer(gl.getAttribLocation(program, "corner"), 2, gl.FLOAT, false, 0, 0);
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
    for (const side of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, side, gl.CLAMP_TO_EDGE);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR);
    this.eye = gl.getUniformLocation(program, "eye");
    const high = (WIDE * this.board.height) / this.board.width;
    gl.uniform4f(gl.getUniformLocation(program, "box"), WIDE, high, 0, -AWAY);
    this.changed = true;
  }

  draw(gl, layer, seen) {
    gl.bindFramebuffer(gl.FRAMEBUFFER, layer.framebuffer);
    gl.clearColor(0.09, 0.1, 0.11, 1);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    if (this.changed) gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, this.board);
    this.changed = false;
    for (const view of seen.views) {
      const box = layer.getViewport(view);
      gl.viewport(box.x, box.y, box.width, box.height);
      gl.uniformMatrix4fv(this.eye, false, product(view.projectionMatrix, view.transform.inverse.matrix));
      gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
    }
  }
}

// Of two 4 x 4 matrices, column by column.
function product(a, b) {
  const out = new Float32Array(16);
  for (let column = 0; column < 4; column++) {
    for (let row = 0; row < 4; row++) {
      for (let k = 0; k < 4; k++) out[4 * column + row] += a[4 * k + row] * b[4 * column + k];
    }
  }
  return out;
}
