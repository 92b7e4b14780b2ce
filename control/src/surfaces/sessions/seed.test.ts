// SPDX-License-Identifier: Apache-2.0
/** The wire is a superset of the seed's examples: every member, of the same type. */
import { afterAll, beforeAll, expect, it } from "vitest";
import { startFakeStripe } from "#testing/fake-stripe.ts";
import { type Caller, type Installation, type Reply, startInstallation } from "#testing/installation.ts";
import { describeWith } from "#testing/requirements.ts";
import { readSeed, seeds } from "#testing/seed.ts";

describeWith([seeds], "the seed's examples", () => {
  let casemate: Installation;
  let me: Caller;
  let id: string;
  let stripe: Awaited<ReturnType<typeof startFakeStripe>>;
  const answers = new Map<string, Reply>();

  beforeAll(async () => {
    stripe = await startFakeStripe();
    casemate = await startInstallation({ config: { payments: stripe.config } });
    me = await casemate.account();
    const examples = readSeed("003_");
    const request = (operation: string) =>
      examples.find((each) => each.operation === operation && each.part === "request")?.value;
    const keep = async (operation: string, reply: Promise<Reply>) => answers.set(operation, await reply);

    await keep("POST /v1/signup", casemate.anyone("POST", "/v1/signup", request("POST /v1/signup")));
    await keep("POST /v1/sessions", me("POST", "/v1/sessions", request("POST /v1/sessions")));
    id = answers.get("POST /v1/sessions")!.body.session_id;
    await keep("GET /v1/sessions/:id", me("GET", `/v1/sessions/${id}`));
    await keep(
      "POST /v1/sessions/:id/exec",
      me("POST", `/v1/sessions/${id}/exec`, request("POST /v1/sessions/:id/exec")),
    );
    await keep("DELETE /v1/sessions/:id", me("DELETE", `/v1/sessions/${id}`));
    await keep("GET /v1/customers/me", me("GET", "/v1/customers/me"));
    await keep(
      "POST /v1/verify",
      casemate.anyone("POST", "/v1/verify", answers.get("DELETE /v1/sessions/:id")!.text),
    );
    const key = answers.get("DELETE /v1/sessions/:id")!.body.cdp.attestation.key_id;
    await keep("GET /v1/keys/:id", casemate.anyone("GET", `/v1/keys/${key}`));
    await keep("GET /v1/health", casemate.anyone("GET", "/v1/health"));
    await keep(
      "POST /v1/billing/checkout",
      me("POST", "/v1/billing/checkout", request("POST /v1/billing/checkout")),
    );
    await keep("any", casemate.anyone("GET", "/v1/customers/me"));
  });
  afterAll(async () => {
    await casemate[Symbol.asyncDispose]();
    await stripe.close();
  });

  const responses = readSeedOrNothing().filter(({ part }) => part !== "request");
  it("are all there", () => expect(responses.length).toBeGreaterThanOrEqual(11));

  it.each(responses.map((example) => [example.operation, example.part, example.value] as const))(
    "%s answers %s with every member of the seed",
    (operation, part, value) => {
      const reply = answers.get(operation)!;
      if (part !== "error") expect(reply.status).toBe(Number(part));
      expectSuperset(reply.body, value, operation);
    },
  );

  it("are read with no content type and with curl's default one", async () => {
    for (const type of [undefined, "application/x-www-form-urlencoded"]) {
      const response = await fetch(`${casemate.url}/v1/sessions`, {
        method: "POST",
        headers: {
          authorization: `Bearer ${me.key}`,
          ...(type === undefined ? {} : { "content-type": type }),
        },
        body: Buffer.from('{"data_classification":"PHI"}'),
      });
      expect(response.status).toBe(201);
    }
    const empty = await me("POST", "/v1/sessions");
    expect(empty.status).toBe(201);
  });
});

function readSeedOrNothing() {
  return seeds.met ? readSeed("003_") : [];
}

function expectSuperset(actual: unknown, expected: unknown, at: string): void {
  if (typeof expected !== "object" || expected === null) {
    expect([at, typeof actual]).toEqual([at, typeof expected]);
    return;
  }
  for (const [name, value] of Object.entries(expected)) {
    if (name === "...") continue;
    expect(actual, at).toHaveProperty(name);
    expectSuperset((actual as Record<string, unknown>)[name], value, `${at} ${name}`);
  }
}
