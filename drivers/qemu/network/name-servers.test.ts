// SPDX-License-Identifier: Apache-2.0
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { findNameServers } from "./name-servers.ts";

test.each([
  ["a public one", "nameserver 9.9.9.9\n", "", { direct: ["9.9.9.9"], door: null }],
  [
    "one in a private range",
    "# x\nnameserver 10.0.0.2\nsearch a.b\n",
    "",
    { direct: ["10.0.0.2"], door: null },
  ],
  [
    "a stub of systemd",
    "nameserver 127.0.0.53\n",
    "nameserver 192.0.2.1\n",
    { direct: ["192.0.2.1"], door: null },
  ],
  ["a resolver here", "nameserver 127.0.0.1\n", "", { direct: [], door: "127.0.0.1" }],
  ["a cloud's link-local one", "nameserver 169.254.169.253\n", "", { direct: [], door: null }],
  ["one without IPv4", "nameserver 2001:db8::1\n", "", { direct: [], door: null }],
  ["none", "", "", { direct: [], door: null }],
])("a host that asks %s", (_what, own, upstream, expected) => {
  const root = mkdtempSync(join(tmpdir(), "casemate-names-"));
  try {
    for (const folder of ["etc", "run/systemd/resolve"]) mkdirSync(join(root, folder), { recursive: true });
    if (own !== "") writeFileSync(join(root, "etc/resolv.conf"), own);
    writeFileSync(join(root, "run/systemd/resolve/resolv.conf"), upstream);
    expect(findNameServers(root)).toEqual(expected);
  } finally {
    rmSync(root, { recursive: true });
  }
});
