// SPDX-License-Identifier: Apache-2.0
import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Caller, type Installation, startInstallation, type Tenant } from "#testing/installation.ts";

let casemate: Installation;
let acme: Caller & Tenant;
let other: Caller & Tenant;
beforeAll(async () => {
  casemate = await startInstallation({ withHost: false });
  [acme, other] = await Promise.all([casemate.tenant("acme"), casemate.tenant("other")]);
});
afterAll(() => casemate[Symbol.asyncDispose]());

const as = (kind: string, id: string) => ({ "x-act-as-kind": kind, "x-act-as-id": id });

it("acts for its own organization, named or not", async () => {
  for (const headers of [
    {},
    as("organization", acme.organizationId),
    as("organization", acme.organizationId.toUpperCase()),
  ]) {
    const { status, body } = await acme(
      "GET",
      "/cdb/organizations",
      undefined,
      headers as Record<string, string>,
    );
    expect([status, body.map(({ UUID }: { UUID: string }) => UUID)]).toEqual([200, [acme.organizationId]]);
  }
});

it("refuses one of the two headers without the other, unknown kinds, and what is no UUID", async () => {
  for (const headers of [
    { "x-act-as-kind": "organization" },
    { "x-act-as-id": acme.organizationId },
    as("Organisation", acme.organizationId),
    as("organization", "acme"),
    as("organization", ""),
    as("organization", `${acme.organizationId}' or true --`),
  ] as Record<string, string>[]) {
    const { status, body } = await acme("GET", "/cdb/organizations", undefined, headers);
    expect([headers, status, body.Code]).toEqual([headers, 400, "request.invalid"]);
  }
});

it("answers the same for another's organization as for one that never was", async () => {
  const answers = [];
  for (const headers of [
    as("organization", other.organizationId),
    as("organization", randomUUID()),
    as("user", acme.organizationId),
    as("channel_partner", acme.organizationId),
  ]) {
    const { status, body } = await acme("GET", "/cdb/organizations", undefined, headers);
    answers.push([status, { ...body, RequestID: "" }]);
  }
  expect(answers[0]).toEqual([
    403,
    { Message: expect.any(String), Code: "identity.not-a-member", RequestID: "" },
  ]);
  for (const answer of answers) expect(answer).toEqual(answers[0]);
});

it("founds no organization in the name of another", async () => {
  expect((await acme("POST", "/cdb/organizations", { Name: "more" })).status).toBe(403);
});

it("pages: every list says how many there are, a limit is clamped, an order unknown is refused", async () => {
  const listed = await acme("GET", "/cdb/organizations?limit=100000&OrderBy=-CreatedAt");
  expect([listed.status, listed.headers.get("x-pagination-records")]).toEqual([200, "1"]);
  expect(listed.headers.get("access-control-expose-headers")).toContain("X-Pagination-Records");
  const beyond = await acme("GET", "/cdb/organizations?offset=7");
  expect([beyond.body, beyond.headers.get("x-pagination-records")]).toEqual([[], "1"]);
  for (const query of ["OrderBy=id;drop", "limit=0", "limit=x", "offset=-1", "OrderBy=constructor"])
    expect([query, (await acme("GET", `/cdb/organizations?${query}`)).status]).toEqual([query, 400]);
});

it("lets pages of other origins ask, with no cookie, and see the count", async () => {
  const { status, headers } = await casemate.anyone("OPTIONS", "/cdb/organizations", undefined, {
    ...{ origin: "https://app.example", "access-control-request-method": "GET" },
  });
  expect([status, headers.get("access-control-allow-origin")]).toEqual([204, "*"]);
  expect(headers.get("access-control-allow-headers")).toContain("X-Act-As-ID");
  expect(headers.get("access-control-allow-credentials")).toBeNull();
});

it("shows the documents and a page each, which runs no script from elsewhere", async () => {
  for (const name of ["cpt", "dev", "cdb"]) {
    expect((await casemate.anyone("GET", `/${name}/openapi.json`)).body.openapi).toBe("3.1.0");
    const page = await casemate.anyone("GET", `/${name}/openapi.html`);
    expect(page.headers.get("content-security-policy")).toContain("script-src 'self';");
    expect(page.text).not.toMatch(/https?:/);
    for (const [, path] of page.text.matchAll(/(?:src|href)="([^"]+)"/g))
      expect([path, (await casemate.anyone("GET", path!)).status]).toEqual([path, 200]);
  }
});
