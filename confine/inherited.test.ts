// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";

const folder = mkdtempSync(join(tmpdir(), "casemate-inherited-"));
afterAll(() => rmSync(folder, { recursive: true }));

test("what a shell left open is closed, and not the file of certificates that Node may be reading", () => {
  const [left, certificates, named] = ["left", "certificates", "named"].map((name) => join(folder, name));
  writeFileSync(left!, "secret");
  // Numbers beyond those that libuv closes on exec by itself. Empty, so that no thread of Node's is still at it.
  writeFileSync(certificates!, "");
  symlinkSync(certificates!, named!);
  const program = `
    import { fstatSync } from "node:fs";
    import { closeInherited } from "${import.meta.dirname}/inherited.ts";
    closeInherited();
    const isOpen = (fd) => { try { fstatSync(fd); return true; } catch { return false; } };
    console.log(JSON.stringify([38, 39].map(isOpen)));`;
  const script = `exec "$0" --disable-warning=ExperimentalWarning --input-type=module-typescript -e "$1" 38<"$2" 39<"$3"`;
  const seen = (env: Record<string, string>) =>
    execFileSync("/bin/bash", ["-c", script, process.execPath, program, left!, certificates!], {
      env: { ...process.env, NODE_EXTRA_CA_CERTS: undefined, ...env },
      encoding: "utf8",
    }).trim();
  expect(seen({})).toBe("[false,false]");
  expect(seen({ NODE_EXTRA_CA_CERTS: named! })).toBe("[false,true]");
  expect(seen({ NODE_EXTRA_CA_CERTS: join(folder, "nothing") })).toBe("[false,false]");
});
