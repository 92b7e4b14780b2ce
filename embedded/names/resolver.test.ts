// SPDX-License-Identifier: Apache-2.0
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { namesAddress } from "./place.ts";
import { DROP_IN, linesOfOurs, RESOLV_CONF, resolverOf } from "./resolver.ts";

const ADDRESS = "127.53.1.2";
let root: string;
const put = (path: string, text: string) => {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), text);
};
const asked = () => resolverOf(ADDRESS, "casemate.internal", root);

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "casemate-resolver-"));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

it("a computer without systemd-resolved is told one line of resolv.conf, also without that file", () => {
  const line = { kind: "resolv.conf", line: "nameserver 127.53.1.2" };
  expect(asked()).toEqual(line);
  put(RESOLV_CONF, "search corp\nnameserver 10.0.0.1\n#nameserver 127.53.1.2\nnameserver 127.53.1.22\n");
  expect(asked()).toEqual(line);
});

it("one with systemd-resolved is told a file that sends only our zone to us, whether it uses the stub or not", () => {
  put(RESOLV_CONF, "nameserver 127.0.0.53\n");
  const { kind, line } = asked() as { kind: string; line: string };
  expect(kind).toBe("systemd-resolved");
  expect(line).toContain(`'[Resolve]\\nDNS=127.53.1.2\\nDomains=~casemate.internal\\n'`);
  expect(line).not.toContain("\n");
  rmSync(join(root, RESOLV_CONF));
  put("/run/systemd/resolve/resolv.conf", "nameserver 10.0.0.1\n");
  symlinkSync(join(root, "run/systemd/resolve/resolv.conf"), join(root, RESOLV_CONF));
  expect(asked().kind).toBe("systemd-resolved");
});

it("whoever has put the line in is told nothing more, and uninstall finds it again", () => {
  put(RESOLV_CONF, "nameserver 127.53.1.2\nnameserver 10.0.0.1\n");
  expect(asked()).toEqual({ kind: "asks-us" });
  put(RESOLV_CONF, "nameserver 127.0.0.53\n");
  put(DROP_IN, "[Resolve]\nDNS=127.53.1.2\nDomains=~casemate.internal\n");
  expect(asked()).toEqual({ kind: "asks-us" });
  expect(linesOfOurs(ADDRESS, root)).toEqual([{ file: DROP_IN, line: "DNS=127.53.1.2" }]);
  expect(linesOfOurs("127.53.1.3", root)).toEqual([]);
});

it("an installation keeps its address, and none is one that instances or others have", () => {
  expect(namesAddress("/var/lib/casemate")).toBe(namesAddress("/var/lib/casemate/"));
  const many = Array.from({ length: 500 }, (_, n) => namesAddress(`/srv/${n}`));
  for (const address of many) expect(address).toMatch(/^127\.53\.\d{1,3}\.([1-9]\d{0,2})$/);
  expect(many.some((address) => /\.255$/.test(address))).toBe(false);
  expect(new Set(many).size).toBeGreaterThan(480);
});
