// SPDX-License-Identifier: Apache-2.0
/** One message to a name server over TCP and its answer, within a time. */
import { connect } from "node:net";
import { HEADER_BYTES } from "./wire/codes.ts";

interface Exchange {
  host: string;
  port: number;
  bytes: Buffer;
  timeoutMs: number;
}

export function exchangeOverTcp({ host, port, bytes, timeoutMs }: Exchange): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port });
    const finish = (settle: () => void) => {
      clearTimeout(timer);
      socket.destroy();
      settle();
    };
    const fail = (reason: string) => finish(() => reject(new Error(reason)));
    const timer = setTimeout(() => fail(`no answer within ${timeoutMs} ms`), timeoutMs);
    const length = Buffer.alloc(2);
    length.writeUInt16BE(bytes.length);
    socket.write(Buffer.concat([length, bytes]));
    // Bounded by the length that two octets can say.
    let held: Buffer = Buffer.alloc(0);
    socket.on("data", (chunk) => {
      held = Buffer.concat([held, chunk]);
      if (held.length < 2 || held.length < 2 + held.readUInt16BE()) return;
      const answer = held.subarray(2, 2 + held.readUInt16BE());
      if (answer.length < HEADER_BYTES) fail("an answer without a header");
      else finish(() => resolve(answer));
    });
    socket.on("error", (error: Error & { code?: string }) => fail(error.code ?? error.message));
    socket.on("close", () => fail("the connection ended before an answer"));
  });
}
