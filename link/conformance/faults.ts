// SPDX-License-Identifier: Apache-2.0
/** What a peer may send and must not achieve. The attacker has the socket, not a place in the installation. */
import { expect, test } from "vitest";
import { factsOf, type LinkFactory, linked, REQUEST, running } from "./pair.ts";

function frame(header: unknown, payload = Buffer.alloc(0)): Buffer {
  const json = Buffer.from(typeof header === "string" ? header : JSON.stringify(header));
  const head = Buffer.alloc(8);
  head.writeUInt32BE(4 + json.length + payload.length, 0);
  head.writeUInt32BE(json.length, 4);
  return Buffer.concat([head, json, payload]);
}

const HELLO = frame({ t: "hello", v: 1 });
const JOINED = frame({ t: "joined", facts: factsOf("host_raw") });
const huge = Buffer.alloc(8);
huge.writeUInt32BE(0xffffffff, 0);

const MALFORMED: [string, Buffer][] = [
  ["a frame over the limit", huge],
  ["not JSON", frame("{")],
  ["not UTF-8", frame("\u0000")],
  ["a list", frame([])],
  ["no kind", frame({ a: 1 })],
  ["an unknown kind", Buffer.concat([HELLO, JOINED, frame({ t: "shutdown" })])],
  ["an unknown member", Buffer.concat([HELLO, JOINED, frame({ t: "ping", more: 1 })])],
  ["a kind from the prototype", Buffer.concat([HELLO, JOINED, frame({ t: "constructor" })])],
  [
    "a stream opened by the host",
    Buffer.concat([HELLO, JOINED, frame({ t: "open", s: 1, request: REQUEST })]),
  ],
  ["bytes for a stream never opened", Buffer.concat([HELLO, JOINED, frame({ t: "data", s: 7, c: 1 })])],
  ["a report before joining", Buffer.concat([HELLO, frame({ t: "observed", id: 1, observations: [] })])],
  [
    "another id after joining",
    Buffer.concat([HELLO, JOINED, frame({ t: "facts", facts: factsOf("host_a") })]),
  ],
  ["a header longer than its frame", Buffer.from([0, 0, 0, 8, 0, 0, 1, 0, 1, 2, 3, 4])],
];

export function faults(factory: LinkFactory): void {
  test("an unknown version is refused by name", async () => {
    await linked(factory, {}, async ({ control }) => {
      if (!control.raw) return;
      const answer = await control.raw(frame({ t: "hello", v: 2, new: "members" }));
      expect(answer.subarray(8).toString()).toContain("link.version-unknown");
    });
  });

  test.each(MALFORMED)("%s ends its connection and not the process (B)", async (_name, bytes) => {
    await linked(factory, {}, async ({ control, link, host }) => {
      if (!control.raw) return;
      // Resolves only when the other side has closed.
      await control.raw(bytes);
      await host.report([running(1)]);
      expect(link.hosts().map((facts) => facts.hostId)).toEqual(["host_a"]);
    });
  });
}
