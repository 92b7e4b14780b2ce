// SPDX-License-Identifier: Apache-2.0
import { expect, it } from "vitest";
import { insideOf } from "./inside.ts";

const some = { upstreams: [{}], baseUrl: null };
const [url, host] = ["http://127.0.0.1:8787", "127.0.0.1:8787"];

it.each([
  ["through a door to this API on loopback", some, url, host, { baseUrl: `${url}/inference/v1`, door: host }],
  [
    "under the name that the operator gave",
    { ...some, baseUrl: "https://a.example/inference/v1" },
    url,
    host,
    { baseUrl: "https://a.example/inference/v1", door: null },
  ],
  ["not at all without a model to ask", { ...some, upstreams: [] }, url, host, null],
  ["not at all where TLS is on loopback", some, "https://127.0.0.1:8787", host, null],
  ["not at all where nobody said how", some, url, "registry.example.com", null],
])("a machine asks models %s", (_how, ask, apiUrl, apiHost, inside) => {
  expect(insideOf(ask, () => ({ url: apiUrl, host: apiHost }))).toEqual(inside);
});
