// SPDX-License-Identifier: Apache-2.0
/**
 * Releases a workload's secrets to the machine that waits for them, and to no other: its evidence is judged first, and its launch
 * must be one that the owner approved. The attacker is the host. It chooses what it boots and carries every word of this; what
 * it cannot do is make evidence of an approved launch for a key of its own.
 *
 *  A. Evidence is asked for anew with each start, for a nonce of ours.
 *  B. What is sent is sealed to the key that the evidence binds. The host passes on a box.
 *  C. The disk's key is the workload's, not the machine's: another host or another approved launch opens the same disk.
 *  D. Refusing ends the start with the reason. Silence of ours is asked again.
 */
import { createHash, randomBytes } from "node:crypto";
import { sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type { Observation } from "#contract/link/machine.ts";
import type { GuestSecrets } from "#guest/protocol.ts";
import { sealBox } from "#guest/seal.ts";
import { openTalk, sealingKeyOf } from "../../core/attestation/index.ts";
import type { Vault } from "../../core/vault/index.ts";
import type { Database, Db } from "../../database/open.ts";
import { decodeBase64 } from "./compose/files.ts";
import type { Deps } from "./deps.ts";
import { launchOf } from "./launch.ts";
import { launchAbout } from "./launches.ts";
import { type Given, loginsOf, openGiven, requirePlan } from "./payload.ts";
import { boxStamp, findSealedEnv, tellWaiting } from "./sealed-env.ts";

type Needs = Pick<Deps, "db" | "fleet" | "vault" | "judge" | "guestImages" | "collateral" | "expectedOf">;

interface Waiting {
  id: string;
  account_id: string;
  payload_sealed: Buffer;
  image_sha256: string | null;
  isolation: string;
  cpus: number;
  domain: string;
  custom_domain: string | null;
  disk_gb: number;
  sealed_env_names: string[];
}

/** A guest under emulation takes seconds for a quote and as many for a credential. */
const TALK_MS = 120_000;
const STATE_KEY_BYTES = 64;

/** One release of a start at a time; the host asks on while it waits. */
const underWay = new Set<string>();
/** Starts that wait for their owner, with the box that was there when they were asked: they are asked again when there is another. */
const waitingFor = new Map<string, string>();
/** D. Starts that were refused, and why: a host that does not hear it gets no second look. */
const refused = new Map<string, string>();
const KEPT_MAX = 10_000;

export async function releaseSecrets(
  needs: Needs,
  hostId: string,
  { machineId, incarnation = 1 }: Observation,
): Promise<void> {
  const name = `${machineId} ${incarnation}`;
  if (underWay.has(name)) return;
  underWay.add(name);
  try {
    await release(needs, hostId, machineId, incarnation);
  } finally {
    underWay.delete(name);
  }
}

async function release(needs: Needs, hostId: string, machineId: string, incarnation: number): Promise<void> {
  const { db, fleet, vault, judge } = needs;
  // A host is told only about what it was given, and only for the start that is wished for now.
  const { rows } = await sql<Waiting>`
    select w.id, w.account_id, w.payload_sealed, w.image_sha256, m.spec->>'isolation' as isolation, w.cpus, w.domain, w.custom_domain, w.disk_gb, w.sealed_env_names
    from workloads w join machines m on m.id = w.machine_id
    where m.id = ${machineId} and m.host_id = ${hostId} and m.want = 'up' and m.incarnation = ${incarnation}
      and w.deleted_at is null`.execute(db.run);
  const waiting = rows[0];
  if (waiting === undefined) return;
  const name = `${machineId} ${incarnation}`;
  const stamp = waiting.sealed_env_names.length === 0 ? "" : await boxStamp(db.run, waiting.id);
  if (waitingFor.get(name) === stamp) return;
  const given = await openGiven(vault, waiting.id, waiting.payload_sealed);
  const { plan } = await requirePlan(judge, waiting.account_id, given);
  const launch = launchOf(given, plan, launchAbout(waiting));
  const talk = openTalk(fleet.open(hostId, { kind: "attest", machineId, incarnation }), TALK_MS);
  try {
    const image = waiting.image_sha256 === null ? null : needs.guestImages.ofHash(waiting.image_sha256);
    const sealingKey =
      refused.get(name) ??
      (await sealingKeyOf(needs, talk, {
        owner: { account: waiting.account_id, subject: { workload: waiting.id } },
        ...{
          hostId,
          machineId,
          image,
          isolation: waiting.isolation,
          cpus: waiting.cpus,
          launchSha256: launch.sha256,
        },
      }));
    if (typeof sealingKey === "string") {
      remember(refused, name, sealingKey);
      return await talk.refuse(sealingKey);
    }
    const isSealed = waiting.sealed_env_names.length > 0;
    const sealedEnv = isSealed ? await findSealedEnv(db.run, waiting.id, sealingKey) : null;
    if (isSealed && sealedEnv === null) {
      remember(waitingFor, name, stamp);
      await tellWaiting(db.run, waiting.id, waiting.sealed_env_names);
      return talk.close();
    }
    waitingFor.delete(name);
    // The last question: what was judged takes its time, and the owner may have stopped, changed or deleted it meanwhile.
    const approval = await approvalOf(db, {
      hostId,
      machineId,
      incarnation,
      waiting,
      // There is no key without it.
      image: image!.sha256,
      launch: launch.sha256,
    });
    if (approval === "changed") return talk.close();
    if (approval === "unapproved")
      return await talk.refuse(
        `image ${image!.sha256} with launch ${launch.sha256} is not approved by the workload's owner`,
      );
    const secrets: GuestSecrets = {
      ...{ v: 1, machineId, incarnation, compose: given.dockerCompose, env: given.envVars },
      files: filesOf(given),
      registries: await loginsOf(db, given, { account: waiting.account_id, machine: machineId, incarnation }),
      ...(sealedEnv !== null && { sealedEnv }),
      stateKey: waiting.disk_gb > 0 ? await stateKeyOf(db, vault, waiting.id) : null,
    };
    const to = { sealingKey, launchSha256: Buffer.from(launch.sha256, "hex") };
    await talk.give(await sealBox("secrets", to, Buffer.from(JSON.stringify(secrets))));
  } catch (error) {
    talk.close();
    throw error;
  }
}

function remember<T>(map: Map<string, T>, name: string, value: T): void {
  if (map.size >= KEPT_MAX) map.clear();
  map.set(name, value);
}

interface Approving {
  hostId: string;
  machineId: string;
  incarnation: number;
  waiting: Waiting;
  image: string;
  launch: string;
}

/** One that is not approved is remembered, so that its owner can see what to approve. `changed`: this start is not wished for any more. */
async function approvalOf(
  db: Database,
  { hostId, machineId, incarnation, waiting, image, launch }: Approving,
): Promise<"approved" | "unapproved" | "changed"> {
  const given = createHash("sha256").update(waiting.payload_sealed).digest();
  const { rows } = await sql<{ approved: boolean }>`
    insert into workload_launches (workload_id, image_sha256, launch_sha256)
    select w.id, ${image}, ${launch} from workloads w join machines m on m.id = w.machine_id
    where w.id = ${waiting.id}::uuid and w.deleted_at is null and sha256(w.payload_sealed) = ${given}::bytea
      and m.id = ${machineId} and m.host_id = ${hostId} and m.want = 'up' and m.incarnation = ${incarnation}
    on conflict (workload_id, image_sha256, launch_sha256) do update set seen_at = now()
    returning approved_at is not null as approved`.execute(db.run);
  if (rows[0] === undefined) return "changed";
  return rows[0].approved ? "approved" : "unapproved";
}

const filesOf = (given: Given) =>
  Object.fromEntries(
    Object.entries(given.files).map(([name, body]) => [name, decodeBase64(body)!.toString("base64")]),
  );

export const stateKeyIdentity = (workload: string): string => `workload_state_keys/${workload}/key`;

/** C. Made with the first release; of two that make one, both get the one that is kept. */
async function stateKeyOf({ run }: { run: Db }, vault: Vault, workload: string): Promise<string> {
  const find = async () => {
    const { rows } = await sql<{ key_sealed: Buffer }>`
      select key_sealed from workload_state_keys where workload_id = ${workload}::uuid`.execute(run);
    return rows[0]?.key_sealed;
  };
  let sealed = await find();
  if (sealed === undefined) {
    const made = await vault.seal(stateKeyIdentity(workload), randomBytes(STATE_KEY_BYTES));
    await sql`insert into workload_state_keys (workload_id, key_sealed)
      select id, ${made}::bytea from workloads where id = ${workload}::uuid and deleted_at is null for share
      on conflict do nothing`.execute(run);
    sealed = await find();
    // Deleted meanwhile, and its key with it.
    if (sealed === undefined) throw new Fault("workload.not-found");
  }
  return (await vault.open(stateKeyIdentity(workload), sealed)).toString("base64");
}
