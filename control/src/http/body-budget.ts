// SPDX-License-Identifier: Apache-2.0
/**
 * Room for large bodies, of all callers together. Each body is bounded, but a customer can send twenty
 * of the largest at once, and reading one takes several times its size: they would end this process for
 * everybody. What does not fit is told to come again. Bytes count as they arrive, so that a caller who
 * only announces a large body takes no room from others.
 */
import { Transform } from "node:stream";
import type { FastifyReply, FastifyRequest, RequestPayload } from "fastify";
import { Fault } from "#contract/errors.ts";

/** Smaller ones are not worth the counting: the rates bound them. */
const SMALL = 1024 * 1024;

export class BodyBudget {
  readonly #most: number;
  #used = 0;

  constructor(most: number) {
    this.#most = most;
  }

  /** The body as it arrives, failing where it no longer fits; given back when the answer is out. */
  meter(request: FastifyRequest, reply: FastifyReply, payload: RequestPayload): RequestPayload {
    const { "content-length": length, "transfer-encoding": chunked } = request.headers;
    if (chunked === undefined && !(Number(length) > SMALL)) return payload;
    let mine = 0;
    let open = true;
    const metered = new Transform({
      transform: (chunk: Buffer, _encoding, done) => {
        if (open) {
          mine += chunk.length;
          this.#used += chunk.length;
        }
        if (this.#used <= this.#most) done(null, chunk);
        else done(new Fault("platform.overloaded", {}, { retryAfterSeconds: 1 }));
      },
    });
    payload.once("error", (error: Error) => metered.destroy(error));
    // The rest of a refused body is read and dropped: a connection cut under it would lose the answer.
    metered.once("error", () => payload.unpipe(metered).resume());
    reply.raw.once("close", () => {
      open = false;
      this.#used -= mine;
      metered.destroy();
    });
    return payload.pipe(metered);
  }
}
