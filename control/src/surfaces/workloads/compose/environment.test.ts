// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from "vitest";
import { checkEnvironment, ENVIRONMENT_LENGTH_MAX, VALUE_LENGTH_MAX, VARIABLES_MAX } from "./environment.ts";

const refused = (env: Record<string, string>) => checkEnvironment(env).map(({ path }) => path);

describe("names", () => {
  test.each([
    "A",
    "_",
    "a1_B",
    "FOO",
    "NODE_ENV",
    "GOOGLE_API_KEY",
    "PYTHONUNBUFFERED",
    "NILCC",
    "FILES_DIR",
    "MY_PATH",
    "LDAP_URL",
    "HOMEPAGE",
    "PATHS",
    "DATABASE_URL",
  ])("%s is free", (name) => {
    expect(refused({ [name]: "x" })).toEqual([]);
  });

  test.each([
    ...["NILCC_VERSION", "NILCC_VM_TYPE", "NILCC_DOMAIN", "FILES", "CADDY_ADMIN", "CASEMATE_X", "CADDY_"],
    ...[
      "COMPOSE_FILE",
      "COMPOSE_PROJECT_NAME",
      "DOCKER_HOST",
      "DOCKER_CONFIG",
      "BUILDKIT_HOST",
      "OTEL_EXPORTER_OTLP_ENDPOINT",
    ],
    ...[
      "PATH",
      "HOME",
      "PWD",
      "LD_PRELOAD",
      "LD_LIBRARY_PATH",
      "GODEBUG",
      "PYTHONPATH",
      "BASH_ENV",
      "HTTPS_PROXY",
    ],
    ...["http_proxy", "Ld_Preload", "files", "SSL_CERT_FILE", "GLIBC_TUNABLES"],
  ])("%s is reserved", (name) => {
    expect(refused({ [name]: "x" })).toEqual([`envVars.${name}`]);
  });

  test.each(["", "1A", "A-B", "A.B", "A B", "A=B", "Ä", "A\n", "\0", "A$"])("%j is none", (name) => {
    expect(refused({ [name]: "x" })).toHaveLength(1);
  });

  test("__proto__ as an own member is looked at like any other", () => {
    expect(refused(JSON.parse('{"__proto__": "a\\nb"}'))).toEqual(["envVars.__proto__"]);
  });
});

describe("values", () => {
  test.each(["", "a b", "a=b", "$A", "'\"\\", "é\t"])("%j is taken", (value) => {
    expect(refused({ A: value })).toEqual([]);
  });

  test.each(["a\nB=1", "a\r", "\0", "\ud800", "x".repeat(VALUE_LENGTH_MAX + 1)])(
    "that could end the line, or are too long, are refused",
    (value) => {
      const violations = checkEnvironment({ A: value });
      expect(violations).toHaveLength(1);
      expect(violations[0]!.message.length).toBeLessThan(200);
    },
  );

  test("are bounded together, and so is their number", () => {
    const value = "x".repeat(VALUE_LENGTH_MAX);
    const many = Math.ceil(ENVIRONMENT_LENGTH_MAX / VALUE_LENGTH_MAX) + 1;
    expect(refused(Object.fromEntries(Array.from({ length: many }, (_, n) => [`A${n}`, value])))).toEqual([
      "envVars",
    ]);
    expect(
      refused(Object.fromEntries(Array.from({ length: VARIABLES_MAX + 1 }, (_, n) => [`A${n}`, ""]))),
    ).toEqual(["envVars"]);
  });

  test("are all told of, and never said", () => {
    const violations = checkEnvironment({ PATH: "hunter2", "1": "hunter2", OK: "hunter2", B: "hunter2\n" });
    expect(violations.map(({ path }) => path).sort()).toEqual(["envVars.1", "envVars.B", "envVars.PATH"]);
    expect(JSON.stringify(violations)).not.toContain("hunter2");
  });
});
