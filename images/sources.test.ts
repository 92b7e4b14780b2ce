// SPDX-License-Identifier: Apache-2.0
import { expect, test } from "vitest";
import { ARCHIVE_KEYS, debianSources } from "./sources.ts";

const list = (mirror: string, security: string) =>
  [
    [mirror, "trixie"],
    [mirror, "trixie-updates"],
    [security, "trixie-security"],
  ]
    .map(([uri, suite]) => `deb [signed-by=${ARCHIVE_KEYS}] ${uri} ${suite} main\n`)
    .join("");

test.each<[string, string[], string]>([
  [
    "its mirrors of Debian, wherever they lie, and not those of others",
    [
      "https://other.example/apt/ Other Debian",
      "https://near.example/mirrors/deb-main/ Debian Debian",
      "https://near.example/mirrors/deb-sec/ Debian Debian-Security",
    ],
    list("https://near.example/mirrors/deb-main/", "https://near.example/mirrors/deb-sec/"),
  ],
  [
    "its mirrors of Debian, before their lists were ever fetched",
    [
      "https://near.example/debian/ $(ORIGIN) $(LABEL)",
      "https://near.example/debian-security/ $(ORIGIN) $(LABEL)",
    ],
    list("https://near.example/debian/", "https://near.example/debian-security/"),
  ],
])("of a machine's sources a build takes %s", (_, targets, expected) => {
  expect(debianSources("trixie", targets.join("\n"))).toBe(expected);
});

test.each([
  ["Ubuntu's mirror", "http://archive.ubuntu.example/ubuntu/ Ubuntu Ubuntu"],
  ["a disc", "cdrom:[Debian]/debian/ Debian Debian"],
  ["what would be read as an option", "http://[arch=mips]/debian/ Debian Debian"],
  ["nothing", ""],
])("where there is only %s, it asks for a sources list", (_, targets) => {
  expect(() => debianSources("trixie", targets)).toThrow(
    /no Debian mirror: give a sources list of trixie by --sources/,
  );
});

test("a machine without security updates builds without", () => {
  const mirror = "https://near.example/debian/";
  const [main, updates] = list(mirror, "").split("\n");
  expect(debianSources("trixie", `${mirror} Debian Debian`)).toBe(`${main}\n${updates}\n`);
});
