// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from "vitest";
import { resolveConfig } from "./config.ts";
import { DEFAULT_CONFIG } from "./defaults.ts";

describe("configuration", () => {
  it("refuses unknown keys with their path", () => {
    expect(() => resolveConfig(DEFAULT_CONFIG, { http: { prot: 1 } }, {})).toThrow(
      "http.prot: there is no such key",
    );
  });

  it("takes the file over the defaults and the environment over the file", () => {
    const given = { http: { port: 9000 }, sessions: { startTimeoutMs: 5000 } };
    const config = resolveConfig(DEFAULT_CONFIG, given, {
      CASEMATE_HTTP_PORT: "9001",
      CASEMATE_SESSIONS_END_TIMEOUT_MS: "700",
    });
    expect(config.http.port).toBe(9001);
    expect(config.sessions).toMatchObject({ startTimeoutMs: 5000, endTimeoutMs: 700 });
  });

  it("counts an empty variable as unset and splits lists", () => {
    const config = resolveConfig(
      DEFAULT_CONFIG,
      {},
      { CASEMATE_HTTP_PORT: "", CASEMATE_HTTP_TRUSTED_PROXIES: "10.0.0.1, 10.0.0.2" },
    );
    expect(config.http).toMatchObject({ port: 8787, trustedProxies: ["10.0.0.1", "10.0.0.2"] });
  });

  it("refuses values of the wrong type or out of range", () => {
    for (const given of [
      { http: { port: "x" } },
      { http: { port: 70_000 } },
      { log: { level: "loud" } },
      { http: 5 },
      [],
    ]) {
      expect(() => resolveConfig(DEFAULT_CONFIG, given, {})).toThrow(/^config/);
    }
  });

  it("leaves the defaults as they were", () => {
    const before = structuredClone(DEFAULT_CONFIG);
    resolveConfig(DEFAULT_CONFIG, { http: { port: 1 } }, { CASEMATE_REPLICA: "other" });
    expect(DEFAULT_CONFIG).toEqual(before);
  });
});
