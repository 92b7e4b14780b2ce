// SPDX-License-Identifier: Apache-2.0
/** The types as a stranger's project has them: copied alone, strict, without Node's types. */
import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const ROOT = new URL("..", import.meta.url).pathname;

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "casemate-sdk-types-"));
  writeFileSync(join(folder, "package.json"), `{ "type": "module" }`);
  cpSync(join(ROOT, "sdk/types"), join(folder, "types"), { recursive: true });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A client of one function, as somebody would write it over these types. */
const CLIENT = `
import type { Operations, Session } from "./types/sessions.js";
type Body<O> = O extends { body?: infer B } ? B : never;
type Answer<O> = O extends { answers: infer A } ? A[keyof A] : never;
declare function call<K extends keyof Operations>(id: K, body?: Body<Operations[K]>): Promise<Answer<Operations[K]>>;
`;

function complaintsAbout(program: string): string[] {
  writeFileSync(join(folder, "program.ts"), `${CLIENT}${program}\nexport {};\n`);
  const flags = ["--noEmit", "--strict", "--module", "nodenext", "--target", "es2022", "--lib", "es2022"];
  const { stdout } = spawnSync(
    join(ROOT, "node_modules/.bin/tsc"),
    [...flags, "--types", "", "--ignoreConfig", "program.ts"],
    { cwd: folder, encoding: "utf8" },
  );
  return [...stdout.matchAll(/error (TS\d+: .*)/g)].map(([, text]) => text!);
}

describe("the types of the operations", () => {
  it("stand alone, each file of them", () => {
    const files = ["devices", "identity", "models", "platform", "registry", "sessions", "workloads"];
    const uses = files.map((name) => `export type { Operations as ${name} } from "./types/${name}.js";`);
    expect(complaintsAbout(uses.join("\n"))).toEqual([]);
  }, 60_000);

  it("take what the server takes and give what it answers", () => {
    expect(
      complaintsAbout(`
        const made: Session = await call("sessions.create", { ttl_seconds: 60, data_classification: "PHI" });
        const id: string = made.session_id;
        const ended: "api" | "ttl" | "oom" | "shutdown" | "recovery" | undefined = made.end_reason;
        for (const session of (await call("sessions.list")).sessions) session.status satisfies string;`),
    ).toEqual([]);
  }, 60_000);

  it.each([
    ["a member of another type", `await call("sessions.create", { ttl_seconds: "60" });`, /TS2322/],
    ["a member that is not there", `await call("sessions.create", { ttl: 60 });`, /TS2353/],
    [
      "a word out of a closed list",
      `await call("sessions.create", { data_classification: "phi" });`,
      /TS28?/,
    ],
    ["an operation that is not there", `await call("sessions.revive");`, /TS2345/],
    ["a null that may come", `(await call("sessions.list")).next_cursor.length;`, /TS2531|TS18047/],
  ])(
    "refuse %s",
    (_, program, complaint) => {
      expect(complaintsAbout(program)).toEqual([expect.stringMatching(complaint)]);
    },
    60_000,
  );
});
