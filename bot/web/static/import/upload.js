// Send bytes by the core of tus 1.0.0, and go on where a lost connection left off.

import { Problem } from "./problem.js";

const PIECE = 256 * 1024;
const PATIENCE = 60_000; // for one request, in milliseconds
const WAITS = [500, 1000, 2000, 4000, 8000]; // after failures in a row, in milliseconds
// These say what to do by themselves; all others may be different in a moment.
const FINAL = { 403: "over", 413: "broken", 415: "broken", 400: "broken", 412: "broken" };

export class Upload {
  #body;
  #proof;
  #address = null;
  #offset = 0;
  #furthest = 0;

  // `body` is a Blob; `proof` is the page's, that it is ours.
  constructor(body, proof) {
    this.#body = body;
    this.#proof = proof;
  }

  // How much of it has arrived, from 0 to 1.
  get share() {
    return this.#furthest / this.#body.size;
  }

  // Send it, and return the address of the page that says what came of it. Call it again after Problem("lost").
  async send({ moved, waiting }) {
    for (let failures = 0; ; ) {
      try {
        return await this.#go(() => {
          failures = 0;
          moved();
        });
      } catch (error) {
        if (error instanceof Problem) throw error;
        if (failures === WAITS.length) throw new Problem("lost");
        waiting();
        await new Promise((go) => setTimeout(go, WAITS[failures++]));
      }
    }
  }

  async #go(moved) {
    await this.#find();
    while (this.#offset < this.#body.size) {
      const piece = this.#body.slice(this.#offset, this.#offset + PIECE);
      const headers = { "upload-offset": String(this.#offset), "content-type": "application/offset+octet-stream" };
      await this.#ask(this.#address, { method: "PATCH", headers, body: piece });
      this.#offset += piece.size;
      // What had to be sent anew because the server forgot it is no progress.
      if (this.#offset > this.#furthest) {
        this.#furthest = this.#offset;
        moved();
      }
    }
    const answer = await this.#ask(`${this.#address}/finish`, { method: "POST" });
    return (await answer.json()).next;
  }

  // Find out how much has arrived; begin where nothing is known of us.
  async #find() {
    if (this.#address !== null) {
      const answer = await this.#ask(this.#address, { method: "HEAD" }, [404]);
      if (answer.ok) {
        this.#offset = Number(answer.headers.get("upload-offset"));
        return;
      }
    }
    const answer = await this.#ask("/uploads", { method: "POST", headers: { "upload-length": String(this.#body.size) } });
    this.#address = answer.headers.get("location");
    this.#offset = 0;
  }

  async #ask(address, options, expected = []) {
    const headers = { ...options.headers, "tus-resumable": "1.0.0", "x-reflock-form": this.#proof };
    const answer = await fetch(address, { ...options, headers, signal: AbortSignal.timeout(PATIENCE) });
    if (answer.ok || expected.includes(answer.status)) return answer;
    const said = answer.headers.get("content-type")?.startsWith("application/json") ? (await answer.json()).problem : null;
    if (said) throw new Problem("said", { words: said });
    if (answer.status in FINAL) throw new Problem(FINAL[answer.status]);
    throw new Error(`answered ${answer.status}`);
  }
}
