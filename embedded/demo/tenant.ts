// SPDX-License-Identifier: Apache-2.0
/**
 * The demo tenant, through the API like anybody's: an organization with a client, a site, a model, a camera.
 * What is there already is found by its name and left as it is, so that a second `up` makes nothing twice
 * and undoes nothing that somebody changed meanwhile.
 */
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

const ANSWER_MS = 20_000;
const POLL_MS = 250;
const TENANT = "demo";
const SITE = "This machine";
const CAMERA = "Demo camera";
const MODEL = "Demo colours";

interface Client {
  client_id: string;
  client_secret: string;
}

export interface Reply {
  status: number;
  // What it is, whoever asked knows.
  // biome-ignore lint/suspicious/noExplicitAny: the contract is control's, and checked there
  body: any;
}

/** Calls in the name of the demo tenant. */
export type Call = (method: string, path: string, body?: unknown) => Promise<Reply>;

interface Reach {
  url: string;
  adminKey: string;
  /** Where its client's secret is kept, 0600. */
  clientFile: string;
  signal: AbortSignal;
}

export async function enterTenant({ url, adminKey, clientFile, signal }: Reach): Promise<Call> {
  const ask = askerOf(url, signal);
  const kept = existsSync(clientFile) ? (JSON.parse(readFileSync(clientFile, "utf8")) as Client) : null;
  const known = kept === null ? null : await tokenOf(ask, kept);
  const token = known ?? (await tokenOf(ask, await makeTenant(ask, adminKey, clientFile)));
  if (token === null) throw new Error("the tenant's client is refused");
  return (method, path, body) => ask(method, path, body, token);
}

type Ask = (method: string, path: string, body: unknown, token?: string) => Promise<Reply>;

const askerOf =
  (url: string, signal: AbortSignal): Ask =>
  async (method, path, body, token) => {
    const json = body !== undefined && !(body instanceof FormData) && !(body instanceof URLSearchParams);
    const response = await fetch(url + path, {
      method,
      headers: {
        ...(token !== undefined && { authorization: `Bearer ${token}` }),
        ...(json && { "content-type": "application/json" }),
      },
      body: json ? JSON.stringify(body) : ((body as FormData | undefined) ?? null),
      signal: AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS)]),
    });
    const text = await response.text();
    return { status: response.status, body: text === "" ? null : JSON.parse(text) };
  };

/** Null: it is refused, as after a database was put in place of another. */
async function tokenOf(ask: Ask, { client_id, client_secret }: Client): Promise<string | null> {
  const grant = { grant_type: "client_credentials", client_id, client_secret };
  const { status, body } = await ask("POST", "/cdb/oauth2/token", new URLSearchParams(grant));
  return status === 200 ? (body.access_token as string) : null;
}

async function makeTenant(ask: Ask, adminKey: string, clientFile: string): Promise<Client> {
  const made = await must(ask("POST", "/platform/v1/tenants", { name: TENANT }, adminKey), 201);
  const client = made.oauth_client as Client;
  writeFileSync(`${clientFile}.new`, `${JSON.stringify(client)}\n`, { mode: 0o600, flush: true });
  renameSync(`${clientFile}.new`, clientFile);
  return client;
}

export async function must(reply: Promise<Reply>, ...expected: number[]): Promise<Reply["body"]> {
  const { status, body } = await reply;
  if (!expected.includes(status)) throw new Error(`${status} ${body?.Message ?? body?.error ?? ""}`.trim());
  return body;
}

export async function site(call: Call): Promise<string> {
  const [found] = await must(call("GET", `/dev/systems?q=${encodeURIComponent(SITE)}`), 200);
  return (found ?? (await must(call("POST", "/dev/systems", { Name: SITE }), 201))).ID;
}

export async function registrationToken(call: Call, systemId: string): Promise<string> {
  const asked = { SystemId: systemId, LifetimeSeconds: 600 };
  return (await must(call("POST", "/dev/registration-tokens", asked), 201)).Token;
}

/** Switched on: what it is for is to be seen. */
export async function camera(call: Call, server: string): Promise<{ id: string; fresh: boolean }> {
  const [found] = await must(call("GET", `/dev/devices?Server=${server}`), 200);
  if (found !== undefined) return { id: found.UUID, fresh: found.PipelinesVersion === 0 };
  const asked = { Name: CAMERA, Server: server, Active: true };
  return { id: (await must(call("POST", "/dev/devices", asked), 201)).UUID, fresh: true };
}

/** Uploaded, and looked at until it can be run. */
export async function model(call: Call, path: string, signal: AbortSignal): Promise<string> {
  const [found] = await must(call("GET", `/cpt/functions?q=${encodeURIComponent(MODEL)}`), 200);
  let state = found;
  if (state === undefined) {
    const form = new FormData();
    form.append("data", JSON.stringify({ Name: MODEL }));
    form.append("file", new Blob([readFileSync(path)]), "model.onnx");
    state = await must(call("POST", "/cpt/functions", form), 201);
  }
  while (state.Status !== "ok") {
    if (state.Status === "error") throw new Error("its model cannot be converted here");
    await sleep(POLL_MS, undefined, { signal });
    state = await must(call("GET", `/cpt/function/${state.UUID}`), 200);
  }
  return state.UUID;
}

/** As soon as the server has said what it can run. */
export async function assign(
  call: Call,
  device: string,
  modelId: string,
  signal: AbortSignal,
): Promise<void> {
  for (;;) {
    const reply = await call("PUT", `/dev/device/${device}/pipelines`, [{ modelUUID: modelId }]);
    if (reply.status !== 422 && reply.status !== 409) return void (await must(Promise.resolve(reply), 200));
    await sleep(POLL_MS, undefined, { signal });
  }
}
