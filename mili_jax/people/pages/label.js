// The label page. A page of questions has an answer to each from the start; a person turns round
// what is wrong and saves all of them. What was saved can be gone back to and corrected.

import { Player, prefetch } from "./player.js";
import { Outbox, keep, post, recall } from "./store.js";

const SIZE = 9;
const AHEAD = 3; // pages that are there, the one that is shown included
const BACK = 30; // saved pages that can be gone back to
const LONG = 500; // ms of a press that means unsure
const NEXT = { yes: "no", no: "yes", unsure: "yes" };
const WORDS = { yes: "yes", no: "no", unsure: "unsure" };

const $ = (id) => document.getElementById(id);
const player = new Player();
const state = {
  name: recall(localStorage, "mili.name", ""),
  client: recall(sessionStorage, "mili.client", "") || randomWord(),
  digest: "",
  pages: [], // {number, likely, questions: [{trial, asked, answer, broken}], back}
  history: [],
  view: recall(localStorage, "mili.view", "grid"),
  done: false,
  since: performance.now(),
  progress: null,
  reveal: false,
  revealed: false,
  asking: false,
};
let outbox = null;

function randomWord() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return [...bytes].map((b) => (b % 36).toString(36)).join("");
}

// Beginning

async function begin() {
  if (location.search) history.replaceState(null, "", location.pathname); // the token is in a cookie
  keep(sessionStorage, "mili.client", state.client);
  player.speed = recall(localStorage, "mili.speed", 2);
  connect();
  if (!state.name) await askName();
  await start();
  if (state.digest !== recall(sessionStorage, "mili.digest", "")) {
    keep(sessionStorage, "mili.pages", null);
    keep(sessionStorage, "mili.history", null);
  }
  keep(sessionStorage, "mili.digest", state.digest);
  state.pages = recall(sessionStorage, "mili.pages", []);
  state.history = recall(sessionStorage, "mili.history", []);
  outbox = new Outbox(state.digest, state.client, onOutbox);
  onOutbox(outbox.size, "", null);
  draw();
  refill();
  setInterval(poll, 5000);
}

async function start() {
  for (;;) {
    try {
      const said = await post("api/start", { annotator: state.name, client: state.client });
      document.title = `${said.title} - mili label`;
      $("question").textContent = said.question;
      $("reveal-row").hidden = !said.reveal;
      state.reveal = said.reveal;
      state.digest = said.digest;
      onProgress(said.progress);
      trouble("");
      return;
    } catch (error) {
      trouble(error.message);
      await new Promise((go) => setTimeout(go, 1500));
    }
  }
}

function askName() {
  return new Promise((go) => {
    const dialog = $("who");
    $("name").value = state.name;
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    dialog.addEventListener(
      "close",
      () => {
        state.name = $("name").value.trim() || state.name || "anonymous";
        keep(localStorage, "mili.name", state.name);
        go();
      },
      { once: true },
    );
    dialog.showModal();
  });
}

// What the server says

function onProgress(progress) {
  state.progress = progress;
  $("bar").max = progress.total;
  $("bar").value = progress.answered;
  $("count").textContent = `${progress.answered} of ${progress.total}`;
  $("pace").textContent = progress.seconds === null ? "" : `${progress.seconds.toFixed(1)} s each`;
  if (progress.trouble) trouble(progress.trouble);
  facts(progress);
}

function onOutbox(waiting, wrong, said) {
  $("saved").textContent = waiting ? `${waiting} not saved yet` : "all saved";
  $("saved").classList.toggle("waits", Boolean(wrong));
  trouble(wrong || (outbox ? outbox.lost : ""));
  if (said) onProgress(said.progress);
}

function trouble(text) {
  $("trouble").textContent = text;
  $("trouble").hidden = !text;
}

function facts(p) {
  const kappa = (a) => {
    if (!a.n) return "no trial was answered twice yet";
    const k = a.kappa === null ? "" : `, Cohen's kappa ${a.kappa.toFixed(2)}`;
    return `${Math.round(a.share * 100)}% of ${a.n} equal${k}`;
  };
  const rows = [
    ["You", `${state.name}, ${p.mine} answers`],
    ["All answers", `${p.counts.yes} yes, ${p.counts.no} no, ${p.counts.unsure} unsure`],
    ["Asked twice, same person", kappa(p.self)],
    ["Asked twice, two people", kappa(p.between)],
  ];
  if (p.others.length) rows.push(["Also here", p.others.join(", ")]);
  if (p.damaged) rows.push(["Damaged", `${p.damaged} trials cannot be shown`]);
  if (p.filter) rows.push(["Learned filter", p.filter]);
  const list = $("facts");
  list.replaceChildren();
  for (const [name, text] of rows) {
    const dt = document.createElement("dt");
    const dd = document.createElement("dd");
    dt.textContent = name;
    dd.textContent = text;
    list.append(dt, dd);
  }
}

async function poll() {
  if (document.hidden) return;
  try {
    onProgress((await post("api/progress", who())).progress);
    if (!outbox.size && !state.progress.trouble) trouble(outbox.lost);
  } catch (error) {
    trouble(error.message);
  }
  refill();
}

function who() {
  return { annotator: state.name, client: state.client };
}

// Pages in

async function refill() {
  if (state.asking) return;
  state.asking = true;
  try {
    while (state.pages.length < AHEAD) {
      const held = state.pages.flatMap((p) => p.questions.map((q) => [q.trial, q.asked]));
      held.push(...outbox.questions());
      const said = await post("api/page", { ...who(), size: SIZE, held: held.slice(0, 1000) });
      onProgress(said.progress);
      state.done = said.done;
      if (!said.page) break;
      const likely = said.page.likely;
      const questions = said.page.questions.map(([trial, asked]) => ({
        trial,
        asked,
        answer: likely ? "yes" : "no",
        broken: "",
      }));
      for (let i = 0; i < questions.length; i += SIZE) {
        const some = questions.slice(i, i + SIZE);
        state.pages.push({ number: said.page.number, likely, questions: some, back: false });
      }
      remember();
      if (state.pages[0].questions[0] === questions[0]) draw();
      else questions.forEach((q) => prefetch(clip(q.trial)));
    }
  } catch (error) {
    trouble(error.message);
  }
  state.asking = false;
  if (!state.pages.length) {
    draw();
    if (!state.done) setTimeout(refill, 1000);
  }
}

function remember() {
  keep(sessionStorage, "mili.pages", state.pages);
  keep(sessionStorage, "mili.history", state.history);
}

function clip(trial) {
  return `clip/${state.digest}/${trial}`;
}

// Drawing

function draw() {
  player.clear();
  state.revealed = false;
  state.since = performance.now();
  const page = state.pages[0];
  const single = state.view === "single";
  $("grid").hidden = single || !page;
  $("single").hidden = !single || !page;
  $("message").hidden = Boolean(page);
  for (const id of ["yes", "no", "unsure"]) $(id).hidden = !single || !page;
  $("commit").hidden = single || !page;
  $("flip").hidden = single || !page;
  $("view").firstElementChild.textContent = single ? "Grid" : "Single view";
  $("speed").firstElementChild.textContent = `${player.speed}×`;
  $("undo").disabled = !state.history.length;
  $("commit").disabled = !page;
  if (!page) drawMessage();
  else if (single) drawSingle(page);
  else drawGrid(page);
}

function drawGrid(page) {
  const tiles = page.questions.map((question, i) => tile(page, question, i));
  $("grid").replaceChildren(...tiles.map((t) => t.button));
  tiles.forEach((t, i) => {
    player.show(t.canvas, t.run, clip(page.questions[i].trial)).catch((error) => {
      breaks(page, page.questions[i], error.message);
    });
  });
  hint(page);
}

function tile(page, question, i) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "tile";
  button.dataset.trial = question.trial;
  const canvas = document.createElement("canvas");
  const key = document.createElement("span");
  key.className = "key";
  key.textContent = i + 1;
  const said = document.createElement("span");
  said.className = "said";
  const run = document.createElement("span");
  run.className = "run";
  button.append(canvas, key, said, run);
  mark(button, question, i, page.questions.length);
  let timer = null;
  let long = false;
  button.addEventListener("pointerdown", () => {
    long = false;
    timer = setTimeout(() => {
      long = true;
      answer(page, i, "unsure");
    }, LONG);
  });
  for (const kind of ["pointerup", "pointerleave", "pointercancel"]) {
    button.addEventListener(kind, () => clearTimeout(timer));
  }
  button.addEventListener("contextmenu", (event) => event.preventDefault());
  button.addEventListener("click", () => {
    if (!long) answer(page, i, NEXT[question.answer]);
    button.blur(); // else Enter would turn it round again
  });
  return { button, canvas, run };
}

function mark(button, question, i, of) {
  button.dataset.answer = question.answer;
  button.querySelector(".said").textContent = WORDS[question.answer];
  button.setAttribute("aria-label", `Trial ${i + 1} of ${of}: ${WORDS[question.answer]}`);
  if (question.broken) {
    button.classList.add("broken");
    button.disabled = true;
    const text = document.createElement("span");
    text.className = "broken-text";
    text.textContent = "This trial cannot be shown and is left out.";
    button.title = question.broken;
    trouble(question.broken);
    button.replaceChildren(text);
  }
}

function answer(page, i, value) {
  const question = page.questions[i];
  if (!question || question.broken || state.pages[0] !== page) return;
  question.answer = value;
  remember();
  mark($("grid").children[i], question, i, page.questions.length);
  hint(page);
}

function breaks(page, question, why) {
  question.broken = why;
  remember();
  if (state.pages[0] !== page) return;
  if (state.view === "single") nextSingle(page);
  else mark($("grid").children[page.questions.indexOf(question)], question, 0, 1);
  hint(page);
}

function hint(page) {
  const line = $("hint");
  line.replaceChildren();
  if (state.view === "single") {
    const left = page.questions.filter((q) => !q.given && !q.broken).length;
    line.textContent = page.back ? "Saved before: answer it again to correct it." : `${left} on this page`;
    return;
  }
  const count = (value) => page.questions.filter((q) => q.answer === value && !q.broken).length;
  const bold = document.createElement("b");
  const parts = ["yes", "no", "unsure"].filter(count).map((v) => `${count(v)} ${WORDS[v]}`);
  bold.textContent = parts.join(", ");
  let text = " - turn round what is wrong";
  if (page.back) text = " - saved before: turn round what is wrong and save again";
  if (parts.length) line.append(bold, text);
  else line.textContent = "Nothing on this page can be shown.";
  const n = page.questions.filter((q) => !q.broken).length;
  $("commit").firstElementChild.textContent = n ? `Save ${n}` : "Next";
}

function drawSingle(page) {
  const question = page.questions.find((q) => !q.given && !q.broken);
  if (!question) {
    leave(page);
    return;
  }
  const { figure, canvas, run } = figureOf(page.back ? question.answer : "");
  $("single").replaceChildren(figure);
  figure.dataset.trial = question.trial;
  player.show(canvas, run, clip(question.trial)).catch((error) => breaks(page, question, error.message));
  hint(page);
}

function figureOf(value) {
  const figure = document.createElement("figure");
  figure.className = "clip";
  if (value) figure.dataset.answer = value;
  const frame = document.createElement("div");
  frame.className = "frame";
  const canvas = document.createElement("canvas");
  const run = document.createElement("span");
  run.className = "run";
  frame.append(canvas, run);
  const caption = document.createElement("figcaption");
  figure.append(frame, caption);
  return { figure, canvas, run, caption };
}

function nextSingle(page) {
  if (page.questions.some((q) => !q.given && !q.broken)) draw();
  else leave(page);
}

function drawMessage() {
  const box = $("message");
  const p = state.progress;
  $("hint").textContent = "";
  const lines = [];
  if (p && !p.ready) lines.push("Earlier answers are being read. This takes a minute for very many trials.");
  else if (state.done) {
    lines.push(`All ${p.total - p.damaged} trials are answered. Thank you, ${state.name}.`);
    if (p.self.n) lines.push(`Asked twice, you gave the same answer to ${Math.round(p.self.share * 100)}%.`);
    lines.push("You can close this page and end the server with ctrl-C.");
  } else if (p && p.left) lines.push("The last trials are with others. This page goes on when they are free.");
  else lines.push("One moment.");
  box.replaceChildren(
    ...lines.map((text) => Object.assign(document.createElement("p"), { textContent: text })),
  );
}

// Answers

function seconds() {
  return (performance.now() - state.since) / 1000;
}

function commit() {
  const page = state.pages[0];
  if (!page || state.view === "single") return;
  const questions = page.questions.filter((q) => !q.broken && !q.given);
  const each = questions.length ? Math.round((seconds() / questions.length) * 1000) / 1000 : 0;
  if (questions.length) {
    outbox.put(state.name, questions.map((q) => [q.trial, q.asked, q.answer, each]));
    state.history.push({ ...page, questions });
  }
  leave(page);
}

function say(value) {
  const page = state.pages[0];
  if (!page || state.view !== "single") return;
  const question = page.questions.find((q) => !q.given && !q.broken);
  if (!question) return;
  question.answer = value;
  outbox.put(state.name, [[question.trial, question.asked, value, Math.round(seconds() * 1000) / 1000]]);
  state.history.push({ number: page.number, likely: page.likely, questions: [{ ...question }] });
  question.given = true;
  state.history = state.history.slice(-BACK * SIZE);
  remember();
  nextSingle(page);
}

function leave(page) {
  state.pages = state.pages.filter((p) => p !== page);
  state.history = state.history.slice(-BACK * SIZE);
  remember();
  draw();
  refill();
}

function undo() {
  const last = state.history.pop();
  if (!last) return;
  state.pages.unshift({ ...last, back: true, questions: last.questions.map((q) => ({ ...q, given: false })) });
  remember();
  draw();
}

function flip() {
  const page = state.pages[0];
  if (!page || state.view === "single") return;
  page.questions.forEach((q, i) => answer(page, i, q.answer === "yes" ? "no" : "yes"));
}

// Views and speed

function toggleView() {
  state.view = state.view === "single" ? "grid" : "single";
  keep(localStorage, "mili.view", state.view);
  const page = state.pages[0];
  if (page) {
    page.questions = page.questions.filter((q) => !q.given); // they are saved
    if (!page.questions.length) state.pages.shift();
  }
  draw();
  refill();
}

function faster() {
  player.speed = (player.speed % 4) + 1;
  keep(localStorage, "mili.speed", player.speed);
  $("speed").firstElementChild.textContent = `${player.speed}×`;
}

async function reveal() {
  const page = state.pages[0];
  if (!state.reveal || state.revealed || !page || state.view !== "single") return;
  const question = page.questions.find((q) => !q.given && !q.broken);
  if (!question) return;
  state.revealed = true;
  const { figure, canvas, run, caption } = figureOf("");
  figure.classList.add("shown");
  $("single").append(figure);
  try {
    const said = await (await fetch(`asked/${question.trial}`)).json();
    caption.textContent = `It was shown ${said.language || said.task}`;
    await player.show(canvas, run, `shown/${state.digest}/${question.trial}`);
  } catch (error) {
    caption.textContent = error.message;
  }
}

// Keys and buttons

function connect() {
  $("commit").addEventListener("click", commit);
  $("undo").addEventListener("click", undo);
  $("flip").addEventListener("click", flip);
  $("view").addEventListener("click", toggleView);
  $("speed").addEventListener("click", faster);
  for (const id of ["yes", "no", "unsure"]) $(id).addEventListener("click", () => say(id));
  $("help-button").addEventListener("click", () => $("help").showModal());
  $("help-close").addEventListener("click", () => $("help").close());
  $("rename").addEventListener("click", async () => {
    $("help").close();
    await askName();
    await start();
  });
  document.addEventListener("keydown", onKey);
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const digit = /^(?:Digit|Numpad)([1-9])$/.exec(event.code);
  const page = state.pages[0];
  const single = state.view === "single";
  if (digit && page && !single) {
    const i = Number(digit[1]) - 1;
    const question = page.questions[i];
    if (question) answer(page, i, event.shiftKey ? "unsure" : NEXT[question.answer]);
  } else if (event.key === "Enter" && !single) commit();
  else if (event.key === "z") undo();
  else if (event.key === "a") flip();
  else if (event.key === "s") toggleView();
  else if (event.key === "f") faster();
  else if (event.key === " ") player.paused = !player.paused;
  else if (event.key === "r") reveal();
  else if (event.key === "?") $("help").showModal();
  else if (event.key === "y") say("yes");
  else if (event.key === "n") say("no");
  else if (event.key === "u") say("unsure");
  else return;
  event.preventDefault();
}

begin();
