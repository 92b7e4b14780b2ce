// SPDX-License-Identifier: Apache-2.0
/** What a guest takes of a sealed box, and what it refuses before anything is begun; and its parts that need no machine. */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type LaunchManifest, manifestBytes } from "#evidence/launch/manifest.ts";
import {
  COMPILE_MS,
  compileGuestProgram,
  type DrivenGuest,
  guestCompiler,
  startDrivenGuest,
} from "#testing/guest-program.ts";
import { describeWith } from "#testing/requirements.ts";
import { type GuestSecrets, PART_BYTES_MAX } from "./protocol.ts";
import { sealBox } from "./seal.ts";

const ASK = { timeoutMs: 30_000 };
const sha = (bytes: Uint8Array | string) => Uint8Array.from(createHash("sha256").update(bytes).digest());
const hex = (bytes: Uint8Array | string) => createHash("sha256").update(bytes).digest("hex");
const base64 = (bytes: Uint8Array | string) => Buffer.from(bytes).toString("base64");

const COMPOSE = "services: {api: {image: caddy:2}}\n";
const FILES = { "a/b.txt": "one", "run.sh": "#!/bin/sh\n" };
const manifest: LaunchManifest = {
  ...{ v: 1, compose: hex(COMPOSE), domains: [], publicService: "api", publicPort: 80, images: {} },
  files: Object.fromEntries(Object.entries(FILES).map(([name, text]) => [name, hex(text)])),
  stateDisk: false,
};
const bytes = manifestBytes(manifest);
const SECRETS: GuestSecrets = {
  ...{ v: 1, machineId: "m-1", incarnation: 2, compose: COMPOSE, env: { A: "b" }, registries: [] },
  files: Object.fromEntries(Object.entries(FILES).map(([name, text]) => [name, base64(text)])),
  stateKey: null,
};
/** Nothing is begun outside of a machine, so this is how far a good one comes here. */
const GOOD = { code: "failed", message: "a workload runs in a machine of its own only" };
const REFUSED = { code: "secrets-refused" };

beforeAll(async () => {
  if (guestCompiler.met) await compileGuestProgram();
}, COMPILE_MS);

describeWith([guestCompiler], "a guest's workload", () => {
  it("has parts that keep what they promise", async () => {
    const program = await compileGuestProgram();
    // Where go would run them: they read files beside their own.
    const options = { cwd: new URL("agent", import.meta.url).pathname, timeout: 120_000 };
    const ran = await promisify(execFile)(program, ["-test.v"], options).catch((error) => error);
    expect(ran.stdout).toMatch(/^PASS$/m);
    expect(ran.stdout).not.toMatch(/^--- FAIL/m);
  }, 130_000);

  let driven: DrivenGuest;
  let sealing: Uint8Array;
  beforeAll(async () => {
    driven = await startDrivenGuest({ manifest: bytes });
    const { keys } = await driven.guest.ask("claim", driven.claimArgs, ASK);
    sealing = Uint8Array.from(Buffer.from(keys.sealing, "base64"));
  });
  afterAll(() => driven?.stop());

  const seal = (kind: "secrets" | "env", plain: string, launch = sha(bytes)) =>
    sealBox(kind, { sealingKey: sealing, launchSha256: launch }, Buffer.from(plain));
  const up = async (box: Uint8Array) => {
    const of = Math.ceil(box.length / PART_BYTES_MAX);
    for (let part = 0; part < of; part++) {
      const piece = box.subarray(part * PART_BYTES_MAX, (part + 1) * PART_BYTES_MAX);
      await driven.guest.ask("payload", { part, of, bytes: base64(piece) }, ASK);
    }
    return driven.guest.ask("up", {}, ASK);
  };
  const upWith = async (change: object) =>
    up(await seal("secrets", JSON.stringify({ ...SECRETS, ...change })));

  it("is not begun without a box, and with a good one only in a machine", async () => {
    await expect(driven.guest.ask("up", {}, ASK)).rejects.toMatchObject({ code: "failed" });
    await expect(upWith({})).rejects.toMatchObject(GOOD);
    // The box was used.
    await expect(driven.guest.ask("up", {}, ASK)).rejects.toMatchObject({
      message: "the payload is not all here",
    });
    expect(await driven.guest.ask("status", {}, ASK)).toEqual({
      ...{ phase: "idle", detail: "", public: false, images: [] },
    });
    expect(await driven.guest.ask("containers", {}, ASK)).toEqual({ containers: [] });
    expect((await driven.guest.ask("stats", {}, ASK)).memory.totalBytes).toBeGreaterThan(2 ** 27);
  });

  it("comes in many parts, also with files of some megabytes, and a part 0 begins anew", async () => {
    const big = base64(Buffer.alloc(5_000_000, 7));
    await driven.guest.ask("payload", { part: 0, of: 3, bytes: base64("half of another") }, ASK);
    await expect(upWith({ env: { A: big } })).rejects.toMatchObject(GOOD);
  });

  it.each<[string, object]>([
    ["another compose file", { compose: `${COMPOSE} ` }],
    ["another file", { files: { ...SECRETS.files, "run.sh": base64("#!/bin/bash\n") } }],
    ["a file less", { files: { "run.sh": SECRETS.files["run.sh"] } }],
    ["a file more", { files: { ...SECRETS.files, more: "" } }],
    ["a file by another name", { files: { "a/c.txt": base64("one"), "run.sh": SECRETS.files["run.sh"] } }],
    ["a file that is not base64", { files: { ...SECRETS.files, "run.sh": "*" } }],
    ["another version", { v: 2 }],
    ["a member more", { extra: 1 }],
    ["a member that is null", { env: null }],
    ["no machine", { machineId: undefined }],
    ["a variable that is none", { env: { "A B": "x" } }],
    ["a variable with a zero", { env: { A: "x\0y" } }],
    ["a login without a password", { registries: [{ server: "a", username: "b" }] }],
    ["a state key where there is no state disk", { stateKey: base64(Buffer.alloc(64)) }],
    ["a state key of another length", { stateKey: base64(Buffer.alloc(63)) }],
    ["an owner's box that is none", { sealedEnv: base64("no box") }],
  ])("is refused with %s", async (_, change) => {
    await expect(upWith(change)).rejects.toMatchObject(REFUSED);
  });

  it("is refused with a box for another launch, of another kind, or changed on its way", async () => {
    const good = JSON.stringify(SECRETS);
    await expect(up(await seal("secrets", good, sha("other")))).rejects.toMatchObject(REFUSED);
    await expect(up(await seal("env", good))).rejects.toMatchObject(REFUSED);
    const changed = await seal("secrets", good);
    changed[50]! ^= 1;
    await expect(up(changed)).rejects.toMatchObject(REFUSED);
    await expect(up(await seal("secrets", `${good} {}`))).rejects.toMatchObject(REFUSED);
  });

  it("takes variables that their owner sealed, and refuses a box of them that is for something else", async () => {
    const own = async (kind: "secrets" | "env", plain: string) => ({
      sealedEnv: base64(await seal(kind, plain)),
    });
    await expect(upWith(await own("env", '{"A":"of the owner"}'))).rejects.toMatchObject(GOOD);
    await expect(upWith(await own("secrets", '{"A":"x"}'))).rejects.toMatchObject(REFUSED);
    await expect(upWith(await own("env", '{"A":1}'))).rejects.toMatchObject(REFUSED);
    await expect(upWith(await own("env", '{"A B":"x"}'))).rejects.toMatchObject(REFUSED);
  });

  const part = (args: object) => driven.guest.ask("payload", args as never, ASK);
  it.each<[string, object[]]>([
    ["does not begin with 0", [{ part: 1, of: 2, bytes: "AA==" }]],
    [
      "leaves one out",
      [
        { part: 0, of: 3, bytes: "AA==" },
        { part: 2, of: 3, bytes: "AA==" },
      ],
    ],
    [
      "comes twice",
      [
        { part: 0, of: 3, bytes: "AA==" },
        { part: 1, of: 3, bytes: "AA==" },
        { part: 1, of: 3, bytes: "AA==" },
      ],
    ],
    [
      "is of another number of parts",
      [
        { part: 0, of: 3, bytes: "AA==" },
        { part: 1, of: 2, bytes: "AA==" },
      ],
    ],
    ["is more than there are", [{ part: 2, of: 2, bytes: "AA==" }]],
    ["is one of too many", [{ part: 0, of: 257, bytes: "AA==" }]],
    ["is too long", [{ part: 0, of: 1, bytes: base64(Buffer.alloc(PART_BYTES_MAX + 1)) }]],
    ["is empty", [{ part: 0, of: 1, bytes: "" }]],
    ["is not base64", [{ part: 0, of: 1, bytes: "AA" }]],
    ["lacks a member", [{ part: 0, bytes: "AA==" }]],
    ["has a member more", [{ part: 0, of: 1, bytes: "AA==", more: 1 }]],
  ])("refuses a part that %s, and is not begun with those before it", async (_, parts) => {
    for (const each of parts.slice(0, -1)) await part(each);
    await expect(part(parts.at(-1)!)).rejects.toMatchObject({ code: "malformed" });
  });

  it.each<[string, object]>([
    ["no container", { container: undefined }],
    ["a path for a container", { container: "../x" }],
    ["another stream", { stream: "stdin" }],
    ["no line", { linesMax: 0 }],
    ["a time that is none", { since: "yesterday" }],
    ["a cursor that is none", { after: "x" }],
    ["a member more", { follow: true }],
  ])("tells no logs to a question with %s", async (_, change) => {
    const good = { container: "api", stream: "both", tail: true, linesMax: 10, timestamps: false } as const;
    const ask = (args: object) => driven.guest.ask("logs", args as typeof good, ASK);
    await expect(ask({ ...good, ...change })).rejects.toMatchObject({ code: "malformed" });
    await expect(ask(good)).rejects.toMatchObject({ code: "failed" });
  });
});
