// SPDX-License-Identifier: Apache-2.0
/** Each kind of key at each operation there is: what it is not made for, it does not open. */
import { randomBytes, randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DOCUMENTS } from "#contract/documents.ts";
import type { Operation } from "#contract/operation.ts";
import { callerOf, type Installation, startInstallation } from "#testing/installation.ts";
import { lendPullKey } from "../core/identity/index.ts";

const OPERATIONS = DOCUMENTS.flatMap(({ operations }) => operations);
const METAL = ["workloads.metal-instances.register", "workloads.metal-instances.heartbeat"];
const HOSTS_OWN = new Set([...METAL, "workloads.events.submit"]);

const WRITES = /:(write|push|manage|\*)$/;

let casemate: Installation;
const keys: Record<string, string> = {};
beforeAll(async () => {
  const none = { requestsPerMinute: null };
  const sessions = { tiers: { free: { rpm: null } } };
  // Routed only where it is switched on.
  const models = { legacyAuth: true };
  casemate = await startInstallation({ withHost: false, config: { workloads: none, sessions, models } });
  const admin = callerOf(casemate.url, casemate.adminKey);
  keys.host = randomBytes(24).toString("hex");
  const made = await admin("POST", "/api/v1/metal-instances/register", {
    ...{ metalInstanceId: randomUUID(), token: keys.host, agentVersion: "0.1.0", publicIp: "192.0.2.7" },
    ...{ hostname: "h", gpus: 0, memoryMb: { reserved: 0, total: 1 }, cpus: { reserved: 0, total: 1 } },
    diskSpaceGb: { reserved: 0, total: 1 },
  });
  expect(made.status).toBe(200);
  const account = (await admin("POST", "/api/v1/accounts/create", { name: "a", credits: 1 })).body;
  keys.workloads = account.apiToken;
  keys.sessions = (await casemate.account()).key!;
  const ask = { account: account.accountId, machine: "mach_0", incarnation: 1 };
  keys.pull = await lendPullKey(casemate.control.db.run, ask);
  const narrowed = await callerOf(casemate.url, account.apiToken)("POST", "/api/v1/api-keys/create", {
    ...{ accountId: account.accountId, name: "n", scopes: ["workloads:read"] },
  });
  expect(narrowed.status).toBe(201);
  keys.narrowed = narrowed.body.apiKey ?? narrowed.body.apiToken ?? narrowed.body.key;
  expect(keys.narrowed).toMatch(/^cm_wl_/);
  const acme = await casemate.tenant();
  const site = (await acme("POST", "/dev/systems", { Name: "s" })).body.ID;
  const word = (await acme("POST", "/dev/registration-tokens", { SystemId: site })).body.Token;
  const asked = { ServerId: randomUUID(), SystemId: site, RegistrationToken: word };
  keys.edge = (await casemate.anyone("POST", "/dev/plugin/register", asked)).body.Key;
  expect(keys.edge).toMatch(/^cm_edge_/);
});
afterAll(() => casemate[Symbol.asyncDispose]());

/** Never the account's own road: what is asked for is nobody's. */
const pathOf = ({ path }: Operation) => path.replaceAll(/:\w+/g, "none").replace("*", "none");
const opens = (kind: string, { id, access, surface, scope, method }: Operation): boolean => {
  const reads = method === "GET" || method === "HEAD";
  if (kind === "host") return HOSTS_OWN.has(id);
  const servers = access === "server" || access === "serverOrAnyone";
  if (kind === "edge" || servers) return kind === "edge" && servers;
  if (access === "host" || access === "hostOrAdmin" || access === "admin") return false;
  if (kind === "pull") return surface === "registry" && reads;
  if (kind === "narrowed")
    // What asks for no scope reads, whatever its method.
    return (
      access !== "account" && (surface === "workloads" || surface === "registry") && !WRITES.test(scope ?? "")
    );
  if (access === "account") return true;
  return surface === kind || (kind === "workloads" && surface === "registry");
};

describe.each(["host", "edge", "pull", "narrowed", "workloads", "sessions"])("a key of kind %s", (kind) => {
  const guarded = OPERATIONS.filter(({ access }) => access !== "public" && access !== "signed");
  it.each(guarded.filter((each) => !opens(kind, each)).map((each) => [each.id, each] as const))(
    "does not open %s",
    async (_id, operation) => {
      for (const header of ["authorization", "x-api-key"]) {
        const value = header === "authorization" ? `Bearer ${keys[kind]}` : keys[kind]!;
        const reply = await callerOf(casemate.url, null)(
          operation.method,
          pathOf(operation),
          operation.bodyKind === "json" ? (operation.example?.body ?? {}) : undefined,
          { [header]: value },
        );
        expect([401, 403], `${reply.status} ${reply.text}`).toContain(reply.status);
      }
    },
  );
});
