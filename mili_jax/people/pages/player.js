// Plays clips: a sheet of frames on a canvas, all of a page in step.

const HOLD = 0.8; // s for which the last picture stays

export class Player {
  constructor() {
    this.speed = 2;
    this.paused = false;
    this.shown = new Map(); // canvas -> {sheet, frames, columns, width, height, seconds, run}
    this.clock = 0;
    this.before = null;
    requestAnimationFrame((now) => this.tick(now));
  }

  // Shows the clip at an address on a canvas; what it rejects with is for the person.
  async show(canvas, run, address) {
    const clip = await load(address);
    if (!canvas.isConnected) {
      clip.sheet.close();
      return;
    }
    canvas.width = clip.width;
    canvas.height = clip.height;
    this.shown.set(canvas, { ...clip, run, last: -1 });
  }

  clear() {
    for (const clip of this.shown.values()) clip.sheet.close();
    this.shown.clear();
    this.clock = 0;
  }

  tick(now) {
    if (this.before !== null && !this.paused) {
      this.clock += (Math.min(now - this.before, 100) / 1000) * this.speed;
    }
    this.before = now;
    for (const [canvas, clip] of this.shown) {
      const at = this.clock % (clip.seconds + HOLD * this.speed);
      const share = Math.min(at / clip.seconds, 1);
      const k = Math.min(Math.floor(share * clip.frames), clip.frames - 1);
      if (k !== clip.last) {
        clip.last = k;
        const x = (k % clip.columns) * clip.width;
        const y = Math.floor(k / clip.columns) * clip.height;
        const { width, height } = clip;
        canvas.getContext("2d").drawImage(clip.sheet, x, y, width, height, 0, 0, width, height);
      }
      clip.run.style.width = `${share * 100}%`;
    }
    requestAnimationFrame((next) => this.tick(next));
  }
}

async function load(address) {
  let answer;
  for (let tries = 0; ; tries += 1) {
    try {
      answer = await fetch(address, { signal: AbortSignal.timeout(20000) });
      if (answer.status !== 429 && answer.status !== 503) break;
    } catch (error) {
      if (tries >= 40) throw new Error("the server does not answer");
    }
    await new Promise((go) => setTimeout(go, Math.min(4000, 250 * 1.5 ** tries)));
  }
  if (!answer.ok) {
    const said = await answer.json().catch(() => ({}));
    throw new Error(said.error || `the clip could not be had (${answer.status})`);
  }
  const [frames, columns, width, height, seconds] = answer.headers.get("x-clip").split(" ").map(Number);
  let sheet;
  try {
    sheet = await createImageBitmap(await answer.blob());
  } catch (error) {
    throw new Error("this browser cannot show the picture");
  }
  return { sheet, frames, columns, width, height, seconds };
}

// Brings a clip into the browser's cache.
export function prefetch(address) {
  fetch(address, { signal: AbortSignal.timeout(20000) }).then((a) => a.blob()).catch(() => {});
}
