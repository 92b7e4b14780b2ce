// SPDX-License-Identifier: Apache-2.0
/**
 * The host's part in what control and a machine say to each other about evidence (contract/link/attest.ts): it carries words
 * between them. It could change any of them, and it is the one that the evidence is against: what control sends
 * is sealed to a key that the evidence binds, so a host that answers for the machine gets a box it cannot open.
 */
import { Compile } from "typebox/compile";
import { ATTEST_LINE_MAX, type AttestAnswer, AttestAsk, BOX_CHANNEL } from "#contract/link/attest.ts";
import type { StreamRequest } from "#contract/link/machine.ts";
import { DriverFault } from "#drivers/driver.ts";
import type { AttestedMachine, KeptDriver } from "#drivers/kept-driver.ts";
import type { LinkStream } from "#link/port.ts";
import type { KeptMachine } from "./machine.ts";

const check = Compile(AttestAsk);

type Request = Extract<StreamRequest, { kind: "attest" }>;

export async function serveAttest(
  { machine, driver }: { machine: KeptMachine; driver: KeptDriver },
  { machineId, incarnation }: Request,
  stream: LinkStream,
): Promise<unknown> {
  if (driver.attested === undefined)
    throw new DriverFault("machine.not-attested", "machines of this kind have no evidence of their own");
  const attested = await driver.attested(machineId, { ofStart: incarnation !== null });
  const say = (answer: AttestAnswer) => stream.write(Buffer.from(`${JSON.stringify(answer)}\n`));
  const chunks = stream.chunks()[Symbol.asyncIterator]();
  let line = Buffer.alloc(0);
  for (;;) {
    const end = line.indexOf(10);
    if (end < 0) {
      const next = await chunks.next();
      if (next.done === true) return {};
      if (next.value.channel !== 0) throw new Error("a box that was not announced");
      line = Buffer.concat([line, next.value.bytes]);
      if (line.length > ATTEST_LINE_MAX) throw new Error("a question that does not end");
      continue;
    }
    const ask = parseAsk(line.subarray(0, end));
    line = line.subarray(end + 1);
    if (ask.ask === "secrets" || ask.ask === "refused") {
      if (incarnation === null) throw new Error("this conversation is about evidence alone");
      if (ask.ask === "refused") machine.refuseSecrets(incarnation, ask.words);
      else await machine.giveSecrets(incarnation, await boxFrom(chunks, ask.sizeBytes));
      return {};
    }
    // What the machine would not do is an answer, and the last word is still to come.
    await say(await answerOf(attested, ask).catch((error: unknown) => ({ error: wordsOf(error) })));
  }
}

async function answerOf(
  attested: AttestedMachine,
  ask: Extract<AttestAsk, { ask: "evidence" | "activate" }>,
): Promise<AttestAnswer> {
  if (ask.ask === "activate") return { secret: await attested.activate(ask.credential, ask.secret) };
  return { evidence: await attested.evidence(ask.purpose, ask.nonce), keys: attested.keys };
}

const wordsOf = (error: unknown): string =>
  error instanceof DriverFault ? error.message.slice(0, 1000) : "the machine did not do what it was asked";

function parseAsk(line: Buffer): AttestAsk {
  const ask: unknown = JSON.parse(line.toString());
  if (!check.Check(ask)) throw new Error("not a question about evidence");
  return ask;
}

type Chunks = AsyncIterator<{ channel: number; bytes: Uint8Array }>;

async function boxFrom(chunks: Chunks, sizeBytes: number): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for (let got = 0; got < sizeBytes; ) {
    const next = await chunks.next();
    if (next.done === true || next.value.channel !== BOX_CHANNEL)
      throw new Error("the box did not come whole");
    got += next.value.bytes.length;
    if (got > sizeBytes) throw new Error("more of the box than was announced");
    parts.push(next.value.bytes);
  }
  return Buffer.concat(parts);
}
