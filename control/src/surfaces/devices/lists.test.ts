// SPDX-License-Identifier: Apache-2.0
/** More devices than are gathered for a page: however one is found, it is the right one, and totals are exact. */
import { sql } from "kysely";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Caller, type Installation, startInstallation, type Tenant } from "#testing/installation.ts";

/** Each 3rd has the tag `many`, each 400th `few` and is in the group; the first thousand are offline. */
const DEVICES = 12_000;
const PER_SERVER = 1000;
const nameOf = (n: number) => `Camera ${String(n).padStart(5, "0")}`;
const which = (fits: (n: number) => boolean) =>
  Array.from({ length: DEVICES }, (_each, n) => n)
    .filter(fits)
    .map(nameOf);

let casemate: Installation;
let acme: Caller & Tenant;
let stranger: Caller & Tenant;
let site: string;
let group: string;
beforeAll(async () => {
  casemate = await startInstallation({
    ...{ withHost: false, config: { identity: { requestsPerMinute: null } } },
  });
  [acme, stranger] = await Promise.all([casemate.tenant("acme"), casemate.tenant("stranger")]);
  site = (await acme("POST", "/dev/systems", { Name: "Harbour" })).body.ID;
  group = (await acme("POST", "/dev/groups", { Name: "Gates" })).body.UUID;
  await sql`
    with made as (
      insert into servers (id, site_id, name, admitted_by, last_seen)
      select gen_random_uuid(), ${site}, n::text, 'test', case when n > 0 then now() + interval '1 day' end
      from generate_series(0, ${DEVICES / PER_SERVER - 1}::int) n returning id, name::int as at
    ), added as (
      insert into devices (id, nx_id, party_id, site_id, server_id, name, serial, type, tags)
      select gen_random_uuid(), gen_random_uuid(), s.party_id, s.id, made.id, 'Camera ' || lpad(n::text, 5, '0'), n::text,
        'camera', array_remove(array[case when n % 3 = 0 then 'many' end, case when n % 400 = 0 then 'few' end], null)
      from generate_series(0, ${DEVICES - 1}::int) n join made on made.at = n / ${PER_SERVER}::int join sites s on s.id = ${site}
      returning id, tags
    ) insert into device_group_members select ${group}, id from added where 'few' = any(tags)`.execute(
    casemate.control.db.run,
  );
});
afterAll(() => casemate[Symbol.asyncDispose]());

const LISTS: [string, () => string, (n: number) => boolean][] = [
  ["all", () => "", () => true],
  ["those of a site", () => `System=${site}`, () => true],
  ["those that are online, more than are gathered", () => "Status=online", (n: number) => n >= 1000],
  ["those that are offline", () => "Status=offline", (n: number) => n < 1000],
  ["those with a tag that many have", () => "Tag=many", (n: number) => n % 3 === 0],
  ["those with a tag that few have", () => "Tag=few", (n: number) => n % 400 === 0],
  ["those with a tag that is only the beginning of theirs", () => "Tag=fe", () => false],
  ["those of a group", () => `Group=${group}`, (n: number) => n % 400 === 0],
  ["those that are called so", () => "q=CAMERA%200119", (n: number) => n >= 1190 && n < 1200],
  [
    "those of a tag, online, in a group",
    () => `Tag=many&Status=online&Group=${group}`,
    (n: number) => n % 1200 === 0 && n >= 1000,
  ],
];

it.each(LISTS)(
  "a list of %s has them in order, from the first page to the last, and their number",
  async (_what, filter, fits) => {
    const expected = which(fits);
    for (const [order, names] of [
      ["Name", expected],
      ["-Name", expected.toReversed()],
    ] as const)
      for (const offset of [0, 7, Math.max(0, expected.length - 5), expected.length, expected.length + 1]) {
        const query = `limit=10&offset=${offset}&OrderBy=${order}&${filter()}`;
        const { status, body, headers } = await acme("GET", `/dev/devices?${query}`);
        const got = [
          status,
          headers.get("x-pagination-records"),
          body.map(({ Name }: { Name: string }) => Name),
        ];
        expect([query, ...got]).toEqual([
          query,
          200,
          String(expected.length),
          names.slice(offset, offset + 10),
        ]);
      }
    const { body, headers } = await stranger("GET", `/dev/devices?${filter()}`);
    expect([body, headers.get("x-pagination-records")]).toEqual([[], "0"]);
  },
);
