// SPDX-License-Identifier: Apache-2.0
/** What the ingress process asks of the host for a handshake, and what it does when the host is silent. */
import { join } from "node:path";
import { expect, test } from "vitest";
import { newLeafKey, openAuthority } from "./authority.ts";
import { Contexts } from "./contexts.ts";
import { served } from "./leaves.ts";
import type { ServedLeaf } from "./messages.ts";
import { DOMAIN, scratch } from "./testing.ts";

const DAY_MS = 86_400_000;

async function contexts() {
  const start = Date.now();
  const { authority } = await openAuthority(join(scratch(), "ca"), new Date(start));
  const leaf = async (): Promise<ServedLeaf> => {
    const key = await newLeafKey();
    return served({ key, ...(await authority.sign(DOMAIN, key, new Date(start))) });
  };
  const state = {
    at: start,
    routes: new Set([DOMAIN]),
    asked: [] as string[],
    answer: leaf as () => Promise<ServedLeaf | null>,
  };
  const kept = new Contexts({
    isServed: (domain) => state.routes.has(domain),
    now: () => new Date(state.at),
    findLeaf: (domain) => {
      state.asked.push(domain);
      return state.answer();
    },
  });
  return Object.assign(state, {
    find: (domain = DOMAIN) => kept.find(domain),
    prune: () => kept.prune(),
    renewed: () => kept.renewed(DOMAIN),
  });
}

test("the host is not asked for a name without a route", async () => {
  const gate = await contexts();
  for (const domain of ["bank.test", `x.${DOMAIN}`, ""]) expect(await gate.find(domain)).toBeNull();
  expect(gate.asked).toEqual([]);
});

test("many handshakes are one question, and those after it none", async () => {
  const gate = await contexts();
  const found = await Promise.all(Array.from({ length: 12 }, () => gate.find()));
  expect(new Set([...found, await gate.find()]).size).toBe(1);
  expect(gate.asked).toEqual([DOMAIN]);
});

test("a host without an answer costs nothing while the certificate lasts, and all of it afterwards", async () => {
  const gate = await contexts();
  const first = await gate.find();
  for (const silent of [async () => null, () => Promise.reject(new Error("gone"))]) {
    gate.answer = silent;
    gate.at += 12 * DAY_MS;
    expect(await gate.find()).toBe(first);
  }
  gate.at += 12 * DAY_MS;
  expect(await gate.find()).toBeNull();
});

test("a route that went while the host was asked leaves nothing to serve, and nothing for its return", async () => {
  const gate = await contexts();
  const { answer } = gate;
  gate.answer = async () => {
    gate.routes.clear();
    return answer();
  };
  expect(await gate.find()).toBeNull();
  gate.routes.add(DOMAIN);
  gate.answer = answer;
  const first = await gate.find();
  gate.routes.clear();
  gate.prune();
  gate.routes.add(DOMAIN);
  expect(await gate.find()).not.toBe(first);
});

test("a renewed certificate is asked for at the next handshake, also when an older answer was under way", async () => {
  const gate = await contexts();
  const first = await gate.find();
  gate.renewed();
  const second = await gate.find();
  expect(second).not.toBe(first);
  expect(await gate.find()).toBe(second);
  const { answer } = gate;
  gate.renewed();
  gate.answer = async () => {
    const older = await answer();
    gate.renewed();
    return older;
  };
  const third = await gate.find();
  gate.answer = answer;
  const asked = gate.asked.length;
  expect(await gate.find()).not.toBe(third);
  expect(gate.asked).toHaveLength(asked + 1);
});

test("a host that is silent about what it renewed leaves what was there", async () => {
  const gate = await contexts();
  const first = await gate.find();
  gate.renewed();
  gate.answer = async () => null;
  expect(await gate.find()).toBe(first);
});
