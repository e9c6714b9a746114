// What must outlive a reload, a lost server or a closed tab, and how it gets to the server.

const TRIES = [300, 700, 1500, 3000, 5000]; // ms between tries
const MOST = 90; // answers in one message

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
// its disk; sending one twice is harmless.
export class Outbox {
  constructor(digest, client, changed) {
    this.prefix = `mili.outbox.${digest}.`;
    this.key = this.prefix + client;
    this.client = client;
    this.changed = changed; // called with (answers waiting, what is wrong, what the server said)
    this.waiting = recall(localStorage, this.key, []);
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
    while (this.waiting.length) {
      const { annotator } = this.waiting[0];
      let n = 0;
      let count = 0;
      const answers = [];
      while (n < this.waiting.length && this.waiting[n].annotator === annotator) {
        if (count && count + this.waiting[n].answers.length > MOST) break;
        count += this.waiting[n].answers.length;
        answers.push(...this.waiting[n].answers);
        n += 1;
      }
      try {
        const said = await post("api/answers", { annotator, client: this.client, answers });
        this.waiting.splice(0, n);
        keep(localStorage, this.key, this.waiting.length ? this.waiting : null);
        this.tries = 0;
        this.changed(this.size, "", said);
      } catch (error) {
        this.changed(this.size, error.message, null);
        const wait = TRIES[Math.min(this.tries, TRIES.length - 1)];
        this.tries += 1;
        await new Promise((go) => setTimeout(go, wait));
      }
    }
    this.busy = false;
  }
}
