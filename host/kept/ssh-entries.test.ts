// SPDX-License-Identifier: Apache-2.0
/** People reach a machine under one address, as long as the machine is known here, and no other machine under it. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import type { Endpoint } from "#drivers/kept-driver.ts";
import { freePort } from "#testing/free-port.ts";
import { SshEntries } from "./ssh-entries.ts";

const KEYS = { hostKeys: ["ssh-ed25519 AAAA"] };
let folder: string;
let port: number;
const opened: (SshEntries | Server)[] = [];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "casemate-ssh-"));
  port = await freePort();
});
afterEach(async () => {
  for (const one of opened.splice(0)) await one.close();
  rmSync(folder, { recursive: true, force: true });
});

function entries(change: Partial<ConstructorParameters<typeof SshEntries>[0]> = {}): SshEntries {
  const made = new SshEntries({
    ...{ addresses: "127.73.0.0/24", port, redirect: async () => false, log: () => {} },
    ...{ file: join(folder, "addresses.json"), ...change },
  });
  opened.push(made);
  return made;
}

/** Says who it is to whoever comes. */
async function machine(words: string): Promise<Endpoint> {
  const server = createServer((socket) => socket.on("error", () => {}).end(words));
  opened.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { host: "127.0.0.1", port: (server.address() as { port: number }).port, ssh: KEYS };
}

const said = (address: string, at = port): Promise<string> =>
  new Promise((resolve, reject) => {
    let text = "";
    connect(at, address)
      .on("data", (part) => {
        text += part.toString();
      })
      .on("end", () => resolve(text))
      .on("error", reject);
  });

it("each machine has an address of its own, which leads to it and is refused when it does not run", async () => {
  const all = entries();
  const [a, b] = [await machine("a"), await machine("b")];
  await all.set(
    new Map([
      ["a", a],
      ["b", b],
    ]),
  );
  const [atA, atB] = [(await all.of("a"))!, (await all.of("b"))!];
  expect(atA.address).not.toBe(atB.address);
  expect(atA).toMatchObject({ port, hostKeys: KEYS.hostKeys });
  expect([await said(atA.address), await said(atB.address)]).toEqual(["a", "b"]);
  await all.set(new Map([["b", b]]));
  expect(await all.of("a")).toBeNull();
  await expect(said(atA.address)).rejects.toThrow(/ECONNREFUSED/);
  // It runs again, elsewhere.
  await all.set(
    new Map([
      ["a", await machine("a again")],
      ["b", b],
    ]),
  );
  expect((await all.of("a"))!.address).toBe(atA.address);
  expect(await said(atA.address)).toBe("a again");
});

it("a host's next process leads to the same addresses, and one that was given back is used late", async () => {
  const first = entries();
  const a = await machine("a");
  await first.set(new Map([["a", a]]));
  const { address } = (await first.of("a"))!;
  await first.close();
  const second = entries();
  await second.set(new Map([["a", a]]));
  expect((await second.of("a"))!.address).toBe(address);
  await second.release("a");
  await second.set(new Map([["b", await machine("b")]]));
  expect((await second.of("b"))!.address).not.toBe(address);
});

it("an address that somebody else listens on is left to them", async () => {
  const other = createServer().listen(port, "127.73.0.1");
  opened.push(other);
  await new Promise((resolve) => other.once("listening", resolve));
  const all = entries();
  await all.set(new Map([["a", await machine("a")]]));
  const { address } = (await all.of("a"))!;
  expect(address).not.toBe("127.73.0.1");
  expect(await said(address)).toBe("a");
});

it("addresses that cannot be read are given anew, and a range that is none is refused", async () => {
  writeFileSync(join(folder, "addresses.json"), "{");
  const all = entries();
  await all.set(new Map([["a", await machine("a")]]));
  expect(await said((await all.of("a"))!.address)).toBe("a");
  for (const addresses of ["127.0.0.1", "127.0.0.0/31", "300.0.0.0/8", "x/8"])
    expect(() => entries({ addresses })).toThrow(/a range of addresses/);
});

it("where port 22 leads to it, that is what people are told", async () => {
  const all = entries({ redirect: async () => true });
  await all.set(new Map([["a", await machine("a")]]));
  expect((await all.of("a"))!.port).toBe(22);
});
