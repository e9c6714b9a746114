// The teleoperation page. The server has the robot, the recording and the state; the page shows
// them, and says where the person's hand is.

import { Hand } from "./hand.js";
import { Headset } from "./headset.js";
import { Pad } from "./gamepad.js";

const EVERY = 25; // ms between two messages of a hand
const AGAIN = 1000; // ms after which a lost connection is tried again
const ANOTHER = 4001; // a closing code: another page drives
const SECONDS = 0.1; // of a control step

const $ = (id) => document.getElementById(id);
const brush = $("picture").getContext("2d");
const smallBrush = $("small").getContext("2d");
const hand = new Hand($("picture"), document.querySelectorAll("[data-move]"));
const headset = new Headset({ send: sendHand, finish: enter, pause: togglePause });
const pad = new Pad(hand, {
  grip: () => drives() && hand.grip(),
  finish: enter,
  discard: () => wish("discard"),
});
const STATES = {
  closed: "not connected",
  ready: "ready: hold to begin",
  driving: "recording",
  waiting: "the world waits",
  paused: "paused",
  review: "finished",
  loading: "the policy is being loaded",
  watching: "the policy acts",
  asking: "your answer",
  done: "done",
};

let socket = null;
let shown = null; // what the server said last
let number = 0;
let wasHeld = false;
let last = performance.now();
let drawing = false;
let waiting = null; // the newest message that is not drawn yet
const sent = new Map(); // number -> when
const lags = [];

// The connection

function connect(take = false) {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  socket = new WebSocket(`${scheme}://${location.host}/drive${take ? "?take" : ""}`);
  socket.binaryType = "arraybuffer";
  socket.onmessage = (event) => onPacket(event.data);
  socket.onclose = (event) => {
    socket = null;
    hand.let();
    document.body.dataset.state = "closed";
    $("state").textContent = STATES.closed;
    for (const each of document.querySelectorAll("footer button")) each.disabled = true;
    if (event.code === ANOTHER) return offerTake(event.reason);
    trouble(event.reason || "The server does not answer. What was kept is safe; the page tries again.");
    setTimeout(connect, AGAIN);
  };
}

function offerTake(why) {
  trouble("");
  panel([text(`Not here: ${why}.`)], [button("Drive it here", () => connect(true), "main")]);
}

function wish(what, value = 0) {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ do: what, value }));
}

function sendHand(said) {
  if (socket?.readyState !== WebSocket.OPEN) return;
  number += 1;
  sent.set(number, performance.now());
  if (sent.size > 200) sent.delete(sent.keys().next().value);
  socket.send(JSON.stringify({ do: "hand", n: number, ...said }));
}

function onPacket(data) {
  const length = new DataView(data).getUint32(0);
  const said = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
  if (said.refused) return trouble(`The server refused a message: ${said.refused}`);
  let at = 4 + length;
  const pictures = said.pictures.map((size) => {
    const part = new Uint8Array(data, at, size);
    at += size;
    return part;
  });
  waiting = { said, pictures };
  if (!drawing) draw();
}

// What is shown

async function draw() {
  drawing = true;
  while (waiting) {
    const { said, pictures } = waiting;
    waiting = null;
    try {
      const [big, small] = await Promise.all(pictures.map(decode));
      brush.drawImage(big, 0, 0, $("picture").width, $("picture").height);
      mark(said.marks ?? []);
      fit($("small"), small);
      smallBrush.drawImage(small, 0, 0);
      big.close();
      small.close();
    } catch {
      trouble("A picture cannot be shown: this browser does not decode JPEG.");
    }
    show(said);
    headset.picture($("picture"), inWords());
  }
  drawing = false;
}

// What a person with a headset on has to know.
function inWords() {
  const asked = $("panel").hidden ? null : $("panel").querySelector("button.main");
  if (!asked) return $("note").textContent || $("state").textContent;
  return `${$("panel").querySelector("p").textContent}  A: ${asked.firstChild.textContent.trim()}`;
}

function decode(part) {
  return createImageBitmap(new Blob([part], { type: "image/jpeg" }));
}

// What the task is about, by its name: two apples may lie there.
function mark(marks) {
  const { width, height } = $("picture");
  brush.font = `600 ${Math.round(height / 30)}px system-ui, sans-serif`;
  brush.textAlign = "center";
  brush.lineJoin = "round";
  marks.forEach(([name, u, v], i) => {
    const words = marks.length > 1 ? `${i + 1} ${name}` : name;
    const half = brush.measureText(words).width / 2 + 4;
    const x = Math.min(width - half, Math.max(half, u * width));
    const y = Math.min(height - 4, Math.max(height / 25, v * height - height / 60));
    brush.lineWidth = height / 110;
    brush.strokeStyle = "#fffd";
    brush.strokeText(words, x, y);
    brush.fillStyle = "#1c1e21";
    brush.fillText(words, x, y);
  });
}

function fit(canvas, picture) {
  if (canvas.width !== picture.width) canvas.width = picture.width;
  if (canvas.height !== picture.height) canvas.height = picture.height;
}

function show(said) {
  const before = shown;
  shown = said;
  const fresh = !before || before.seed !== said.seed || said.step < before.step;
  if (fresh || !drives()) {
    hand.let(); // what is still held was meant for what is over
    hand.opening = said.wanted[6] > 0.5 ? 1 : 0;
  }
  document.body.dataset.state = said.state;
  document.body.dataset.step = said.step;
  document.body.dataset.pose = said.pose.join(" ");
  document.title = `${said.words} - mili teleop`;
  $("task").textContent = title(said);
  $("state").textContent = STATES[said.state] ?? said.state;
  $("height").value = said.pose[2];
  $("height-cm").textContent = `${(100 * said.pose[2]).toFixed(1)} cm`;
  $("fingers").value = said.pose[6];
  $("fingers-word").textContent = hand.opening > 0.5 ? "open" : "closed";
  $("grip").firstElementChild.textContent = hand.opening > 0.5 ? "Close" : "Open";
  $("recorded").textContent = `${(said.step * SECONDS).toFixed(1)} s`;
  $("kept").textContent = said.playground ? "" : kept(said);
  $("note").textContent = said.note;
  $("note").hidden = !said.note;
  $("pause").firstElementChild.textContent = said.state === "paused" ? "Go on" : "Pause";
  const active = drives();
  for (const each of document.querySelectorAll("[data-move]")) each.disabled = !active;
  $("headset").disabled = !headset.there;
  for (const id of ["grip", "pause", "again"]) $(id).disabled = !active && said.state !== "paused";
  $("discard").disabled = !["driving", "waiting", "paused", "review"].includes(said.state);
  $("finish").disabled = !["driving", "waiting", "paused"].includes(said.state);
  trouble(said.trouble);
  lag(said.n);
  choices(said);
  if (!before || before.state !== said.state || before.trouble !== said.trouble || fresh) review(said);
}

function title(said) {
  if (!said.playground) return said.words;
  if (said.state === "watching") return `${said.words}: attempt ${said.answers.length + 1} of ${said.attempts}`;
  return `Show the robot: ${said.words}`;
}

function kept(said) {
  const where = said.stored ? "kept" : "done, not stored: this is practice";
  return `${said.kept} ${where}`;
}

function trouble(words) {
  $("trouble").textContent = words;
  $("trouble").hidden = !words;
}

// Of every message that this picture is the first one after, not of the last one alone.
function lag(n) {
  const now = performance.now();
  for (const [number, start] of sent) {
    if (number > n) break;
    sent.delete(number);
    lags.push(now - start);
    performance.measure("picture", { start, end: now }); // for whoever looks there
    if (number % 5000 === 0) performance.clearMeasures("picture");
  }
  if (!lags.length) return;
  lags.splice(0, lags.length - 60);
  const middle = [...lags].sort((a, b) => a - b)[lags.length >> 1];
  $("lag").textContent = `${Math.round(middle)} ms`;
}

function choices(said) {
  const many = said.tasks.length > 1;
  $("choose").hidden = !many;
  if (!many) return;
  const wanted = said.tasks.map(([, words, count]) => (said.playground ? words : `${words} (${count})`));
  const list = $("tasks");
  if ([...list.options].map((o) => o.text).join() !== wanted.join()) {
    list.replaceChildren(...wanted.map((words) => new Option(words)));
  }
  if (document.activeElement !== list) list.selectedIndex = said.tasks.findIndex(([t]) => t === said.task);
  list.disabled = !["ready", "waiting", "paused", "done"].includes(said.state);
}

// What is asked after a demonstration or an attempt

function review(said) {
  if (said.state === "review") return said.playground ? shownOrNot(said) : keepOrNot(said);
  if (said.state === "asking") {
    const which = `Attempt ${said.answers.length + 1} of ${said.attempts}. Did it ${said.words}?`;
    return panel([text(which)], [
      button("Yes", () => wish("answer", 1), "main", "y"),
      button("No", () => wish("answer", 0), "", "n"),
    ]);
  }
  if (said.state === "done") {
    const yes = said.answers.filter(([you]) => you).length;
    const same = said.answers.filter(([you, it]) => you === it).length;
    return panel([
      text(`You say it did it in ${yes} of ${said.attempts} new scenes, after one demonstration.`),
      text(`The simulator says the same of ${same} of them.`),
    ], [
      button("Once more", () => wish("again"), "main", "n"),
    ]);
  }
  if (said.state === "loading") return panel([text("The policy looks at your demonstration.")], []);
  panel(null, []);
}

function shownOrNot(said) {
  const lines = [
    said.success
      ? text("Done. Now the policy tries it in three new scenes.", "well")
      : text("The task is not done. The policy would learn what you showed.", "badly"),
  ];
  const go = said.success ? "Watch it" : "Watch it all the same";
  panel(lines, [
    button(go, () => wish(said.success ? "keep" : "keep_failed"), said.success ? "main" : "", "k"),
    button("Once more", () => wish("discard"), said.success ? "" : "main", "d"),
  ]);
}

function keepOrNot(said) {
  const again = button("Discard", () => wish("discard"), said.success ? "" : "main", "d");
  if (said.task) {
    if (said.success) {
      return panel([text("The task is done.", "well")], [button("Keep", () => wish("keep"), "main", "k"), again]);
    }
    const others = said.achieved.map(([, words]) => words).join(", ");
    const did = others ? ` What was done: ${others}.` : "";
    return panel([
      text(`This failed: the task is not done.${did}`, "badly"),
      text("A failed demonstration teaches the wrong thing. It is kept only if you ask for it."),
    ], [again, button("Keep it all the same", () => wish("keep_failed"))]);
  }
  if (!said.achieved.length) {
    return panel([text("Nothing that has a name was done, so it cannot be kept.", "badly")], [again]);
  }
  const names = said.achieved.map(([, words], i) => button(`Keep: ${words}`, () => wish("keep", i), i ? "" : "main", i ? "" : "k"));
  return panel([text("What was it?", "well")], [...names, again]);
}

function text(words, kind = "") {
  const p = document.createElement("p");
  p.textContent = words;
  p.className = kind;
  return p;
}

function button(words, action, kind = "", key = "") {
  const b = document.createElement("button");
  b.type = "button";
  b.className = kind;
  b.textContent = words;
  b.addEventListener("click", action);
  if (key) {
    const hint = document.createElement("kbd");
    hint.textContent = key;
    b.dataset.key = key;
    b.append(" ", hint);
  }
  return b;
}

function panel(lines, buttons) {
  $("panel").hidden = lines === null;
  const row = document.createElement("div");
  row.className = "row";
  row.append(...buttons);
  $("panel").replaceChildren(...(lines ?? []), row);
}

// The hand

function drives() {
  return shown !== null && ["ready", "driving", "waiting"].includes(shown.state);
}

function beat() {
  const now = performance.now();
  const seconds = Math.min(0.05, (now - last) / 1000);
  last = now;
  pad.look();
  if (headset.on) return;
  const held = hand.held && drives() && socket !== null;
  if (held) hand.move(seconds).forEach(sendHand);
  else if (wasHeld) sendHand({ ...hand.said(hand.opening), held: false });
  else hand.owed = [0, 0, 0];
  wasHeld = held;
}

function togglePause() {
  hand.let();
  wish("pause", shown?.state === "paused" ? 0 : 1);
}

function enter() {
  const first = $("panel").hidden ? null : $("panel").querySelector("button.main");
  if (first) first.click();
  else wish("finish");
}

function onKey(event) {
  const pressed = event.type === "keydown";
  if (document.querySelector("dialog[open]") || event.target instanceof HTMLSelectElement) return;
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (!pressed) return void hand.key(event, false);
  const choice = $("panel").hidden ? null : $("panel").querySelector(`[data-key="${event.key}"]`);
  if (choice) choice.click();
  else if (event.key === "Enter" && !(event.target instanceof HTMLButtonElement)) enter();
  else if (event.key === "Escape") wish("discard");
  else if (event.key === "p" && !event.repeat) togglePause();
  else if (event.key === "n" && $("panel").hidden) wish("again");
  else if (event.key === "?") $("help").showModal();
  else if (event.key === " " && drives()) {
    if (!event.repeat) hand.grip();
  } else if (!hand.key(event, true)) return;
  event.preventDefault();
}

function begin() {
  if (location.search) history.replaceState(null, "", location.pathname); // the token is in a cookie
  document.addEventListener("keydown", onKey);
  document.addEventListener("keyup", onKey);
  $("grip").addEventListener("click", () => drives() && hand.grip());
  $("pause").addEventListener("click", togglePause);
  $("finish").addEventListener("click", () => wish("finish"));
  $("discard").addEventListener("click", () => wish("discard"));
  $("again").addEventListener("click", () => wish("again"));
  $("tasks").addEventListener("change", () => {
    wish("task", $("tasks").selectedIndex);
    $("picture").focus();
  });
  $("help-button").addEventListener("click", () => $("help").showModal());
  $("help-close").addEventListener("click", () => $("help").close());
  headset.offer($("headset"), $("xr"));
  connect();
  setInterval(beat, EVERY);
}

begin();
