// What must outlive a reload, a lost server or a closed tab, and how it gets to the server.

const TRIES = [300, 700, 1500, 3000, 5000]; // ms between tries
const MOST = 90; // answers in one message
const REFUSED = [400, 413]; // statuses of a message that is refused each time it is sent

export class ServerError extends Error {
  constructor(text, status) {
    super(text);
    this.status = status;
  }
}

export async function post(path, body) {
  let answer;
  try {
    answer = await fetch(path, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(15000),
    });
  } catch (error) {
    throw new ServerError("The server does not answer. Is `mili label` still running?", 0);
  }
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new ServerError(said.error || `status ${answer.status}`, answer.status);
  return said;
}

export function recall(storage, key, otherwise) {
  try {
    const text = storage.getItem(key);
    return text === null ? otherwise : JSON.parse(text);
  } catch (error) {
    return otherwise; // storage is switched off, or somebody else has written there
  }
}

export function keep(storage, key, value) {
  try {
    if (value === null) storage.removeItem(key);
    else storage.setItem(key, JSON.stringify(value));
  } catch (error) {
    // without storage the page works, but forgets when it is closed
  }
}

// Answers on their way. They stay in the browser's storage until the server says that they are on
// its disk; sending one twice is harmless. What it can never take is set aside in the storage, so that
// nothing waits behind it.
export class Outbox {
  constructor(digest, client, changed) {
    this.prefix = `mili.outbox.${digest}.`;
    this.key = this.prefix + client;
    this.refused = `mili.refused.${digest}`;
    this.client = client;
    this.changed = changed; // called with (answers waiting, what is wrong, what the server said)
    this.waiting = recall(localStorage, this.key, []);
    this.lost = ""; // what the person should know of answers that were refused
    this.tries = 0;
    this.busy = false;
    this.adopt();
    this.send();
  }

  // What tabs have left that were closed before the server answered.
  adopt() {
    const others = [];
    for (let i = 0; i < localStorage.length; i += 1) {
      const key = localStorage.key(i);
      if (key.startsWith(this.prefix) && key !== this.key) others.push(key);
    }
    for (const key of others) {
      this.waiting.push(...recall(localStorage, key, []));
      keep(localStorage, this.key, this.waiting);
      keep(localStorage, key, null);
    }
  }

  get size() {
    return this.waiting.reduce((n, entry) => n + entry.answers.length, 0);
  }

  // [trial, asked] of what is on its way.
  questions() {
    return this.waiting.flatMap((entry) => entry.answers.map(([trial, asked]) => [trial, asked]));
  }

  put(annotator, answers) {
    this.waiting.push({ annotator, answers });
    keep(localStorage, this.key, this.waiting);
    this.changed(this.size, "", null);
    this.send();
  }

  async send() {
    if (this.busy) return;
    this.busy = true;
    let most = MOST;
    while (this.waiting.length) {
      const { annotator } = this.waiting[0];
      let n = 0;
      let count = 0;
      const answers = [];
      while (n < this.waiting.length && this.waiting[n].annotator === annotator) {
        if (count && count + this.waiting[n].answers.length > most) break;
        count += this.waiting[n].answers.length;
        answers.push(...this.waiting[n].answers);
        n += 1;
      }
      try {
        const said = await post("api/answers", { annotator, client: this.client, answers });
        this.drop(n);
        this.tries = 0;
        most = MOST;
        this.changed(this.size, "", said);
      } catch (error) {
        if (REFUSED.includes(error.status)) {
          if (n === 1) this.setAside(error.message);
          most = 0; // one at a time, until one is taken
          continue;
        }
        const kept = "Your answers are kept in this browser and sent again.";
        this.changed(this.size, `${error.message} ${kept}`, null);
        const wait = TRIES[Math.min(this.tries, TRIES.length - 1)];
        this.tries += 1;
        await new Promise((go) => setTimeout(go, wait));
      }
    }
    this.busy = false;
  }

  drop(n) {
    const gone = this.waiting.splice(0, n);
    keep(localStorage, this.key, this.waiting.length ? this.waiting : null);
    return gone;
  }

  setAside(why) {
    const gone = this.drop(1);
    keep(localStorage, this.refused, [...recall(localStorage, this.refused, []), ...gone]);
    const count = gone[0].answers.length;
    const what = count === 1 ? "an answer" : `${count} answers`;
    this.lost = `The server refuses ${what} (${why}). What is refused stays in this browser.`;
    this.changed(this.size, "", null);
  }
}
