// SPDX-License-Identifier: Apache-2.0
/**
 * What an instance's machine asks control for: what it is started with, and, when it has shown that it is that, who may log in. The
 * attacker is the host, which carries both: of the first nothing is secret, and the second is sealed to the key that the evidence binds.
 * A host that put its own key in its place would have to make evidence of our image for a key of its own.
 */
import { sql } from "kysely";
import type { Observation } from "#contract/link/machine.ts";
import type { InstanceSecrets } from "#guest/protocol.ts";
import { sealBox } from "#guest/seal.ts";
import { openTalk, revocationStep, sealingKeyOf } from "../../core/attestation/index.ts";
import { makeInstanceToken } from "../../core/identity/index.ts";
import { customOf } from "./custom-inference.ts";
import type { Deps } from "./deps.ts";
import type { Inside } from "./inside.ts";
import { HAS_STATE_DISK, KNOWS_NUMBERS, launchOf, toLaunchPayload } from "./launch.ts";
import { forgetWarm, markWarm, type Spare, spareOf } from "./spares.ts";
import { pass } from "./stages.ts";
import { stateKeyOf } from "./state-key.ts";

type Needs = Pick<Deps, "db" | "fleet" | "vault" | "guestImages" | "collateral" | "expectedOf"> & {
  /** How a machine reaches the gateway of models; null: not at all. */
  inside(): Inside | null;
};

type Start = Pick<Observation, "machineId" | "incarnation">;

interface Wanted {
  id: string;
  account_id: string;
  agent: string;
  hostname: string;
  public_key: string;
  key_number: number;
  inference_model: string | null;
  image_sha256: string;
  state_disk: boolean;
  knows_numbers: boolean;
  isolation: string;
  cpus: number;
  sent_bytes: number;
  blocked: boolean;
  /** Of a machine that waited as a spare (spares.ts, B): that of its evidence. */
  sealing_key: Buffer | null;
}

const NOTHING_SENT = { sent_bytes: 0, blocked: false };

/** A guest under emulation takes seconds for a quote and as many for a credential. */
const TALK_MS = 120_000;
/** One claim of a start at a time; the host asks on while it waits. */
const underWay = new Set<string>();

/** A host can ask only for what it was given, and only for the start that is wished for now. */
async function wantedOf(
  { db }: Pick<Needs, "db">,
  hostId: string,
  { machineId, incarnation = 1 }: Start,
): Promise<Wanted | undefined> {
  const { rows } = await sql<Wanted>`
    select i.id, i.account_id, i.agent, i.hostname, i.public_key, i.key_number, i.inference_model, i.image_sha256,
      ${HAS_STATE_DISK} as state_disk, ${KNOWS_NUMBERS} as knows_numbers, m.spec->>'isolation' as isolation,
      (m.spec->>'cpuMillis')::int / 1000 as cpus, s.sealing_key, coalesce(e.sent_bytes, 0) as sent_bytes, e.blocked_at is not null as blocked
    from instances i join machines m on m.id = i.machine_id left join instance_egress e on e.instance_id = i.id
      left join instance_spares s on s.machine_id = m.id and s.instance_id = i.id and s.warm_incarnation = m.incarnation
    where m.id = ${machineId} and m.host_id = ${hostId} and m.want = 'up' and m.incarnation = ${incarnation}
      and i.status in ('provisioning', 'ready')`.execute(db.run);
  return rows[0];
}

/** Nothing for machines that are no instance's. */
export async function sendLaunch(
  needs: Pick<Needs, "db" | "fleet" | "inside">,
  hostId: string,
  observation: Start,
): Promise<void> {
  // It begins anew.
  await forgetWarm(needs, observation.machineId);
  const wanted =
    (await wantedOf(needs, hostId, observation)) ??
    (await spareOf(needs, hostId, observation).then((spare) => spare && { ...spare, ...NOTHING_SENT }));
  if (wanted === undefined) return;
  const { machineId, incarnation = 1 } = observation;
  const door = needs.inside()?.door ?? null;
  const doors = door === null ? [] : [door];
  const payload = toLaunchPayload(launchOf(wanted), wanted.image_sha256, doors, {
    ...{ sentBytes: wanted.sent_bytes, cut: wanted.blocked },
  });
  const bytes = Buffer.from(JSON.stringify(payload));
  const stream = needs.fleet.open(hostId, {
    kind: "payload",
    machineId,
    incarnation,
    sizeBytes: bytes.length,
  });
  await stream.write(bytes);
  stream.finish();
  const end = await stream.ended;
  if (end.kind !== "done") throw new Error(`the launch of ${machineId} was not taken: ${end.kind}`);
}

export async function claimInstance(needs: Needs, hostId: string, observation: Start): Promise<void> {
  const { machineId, incarnation = 1 } = observation;
  const name = `${machineId} ${incarnation}`;
  if (underWay.has(name)) return;
  underWay.add(name);
  try {
    const wanted = await wantedOf(needs, hostId, observation);
    if (wanted !== undefined) return await claim(needs, { hostId, machineId, incarnation, wanted });
    const spare = await spareOf(needs, hostId, observation);
    if (spare !== undefined && !spare.warm) await warm(needs, { hostId, machineId, incarnation, spare });
  } finally {
    underWay.delete(name);
  }
}

interface Started {
  hostId: string;
  machineId: string;
  incarnation: number;
}
type Ask = Started & { wanted: Wanted };
type WarmAsk = Started & { spare: Spare };

async function claim(needs: Needs, ask: Ask): Promise<void> {
  await pass(needs.db.run, ask.wanted.id, "booted");
  await hand(needs, ask, async (wanted) => {
    const stateKey = wanted.state_disk ? await stateKeyOf(needs, wanted.id) : undefined;
    if (stateKey === null) return null;
    return { ...(stateKey !== undefined && { stateKey }), ...(await inferenceOf(needs, ask)) };
  });
}

/**
 * Says anew who is let in, to a machine that runs. It has its disk open and its token. True: its host has taken the box; whether the machine
 * has, its evidence says.
 */
export async function claimAnew(
  needs: Omit<Needs, "inside" | "vault">,
  hostId: string,
  observation: Pick<Observation, "machineId" | "incarnation">,
): Promise<boolean> {
  const { machineId, incarnation = 1 } = observation;
  const wanted = await wantedOf(needs, hostId, { machineId, incarnation });
  if (wanted === undefined) return false;
  return hand(needs, { hostId, machineId, incarnation, wanted }, async () => ({}));
}

/** False when it was refused, or is not wished for any more. */
async function hand(
  needs: Omit<Needs, "inside" | "vault">,
  ask: Ask,
  more: (wanted: Wanted) => Promise<Partial<InstanceSecrets> | null>,
): Promise<boolean> {
  const { hostId, machineId, incarnation, wanted } = ask;
  const talk = openTalk(needs.fleet.open(hostId, { kind: "attest", machineId, incarnation }), TALK_MS);
  try {
    const launchSha256 = launchOf(wanted).sha256;
    const sealingKey =
      (await knownKeyOf(needs, wanted, launchSha256)) ??
      (await sealingKeyOf(needs, talk, {
        ...{ hostId, machineId, owner: { account: wanted.account_id, subject: { instance: wanted.id } } },
        ...{ isolation: wanted.isolation, cpus: wanted.cpus, launchSha256 },
        image: needs.guestImages.ofHash(wanted.image_sha256),
      }));
    if (typeof sealingKey === "string") {
      await talk.refuse(sealingKey);
      return false;
    }
    await pass(needs.db.run, wanted.id, "attested");
    // It takes its time to judge; who deleted the instance meanwhile, or took a key away, lets nobody in by it any more.
    const now = await wantedOf(needs, hostId, { machineId, incarnation });
    const rest = now === undefined ? null : await more(now);
    if (now === undefined || rest === null) {
      talk.close();
      return false;
    }
    const secrets: InstanceSecrets = {
      ...{ v: 1, kind: "instance", machineId, incarnation },
      ...{ hostname: now.hostname, authorizedKey: now.public_key },
      ...(now.knows_numbers && { keyNumber: now.key_number }),
      ...rest,
    };
    const to = { sealingKey, launchSha256: Buffer.from(launchSha256, "hex") };
    const box = await sealBox("secrets", to, Buffer.from(JSON.stringify(secrets)));
    // Before it is handed over: a fast machine is ready before a later statement of ours is through.
    await pass(needs.db.run, now.id, "claimed");
    await talk.give(box);
    await sql`update instances set key_told = ${now.key_number} where id = ${now.id}`.execute(needs.db.run);
    return true;
  } catch (error) {
    talk.close();
    throw error;
  }
}

/** Judged while it waited. What was revoked since is asked of the machine anew, and refused there. */
async function knownKeyOf(
  { db }: Pick<Needs, "db">,
  wanted: Wanted,
  launchSha256: string,
): Promise<Uint8Array | null> {
  if (wanted.sealing_key === null) return null;
  const { ok } = await revocationStep(db.run, [wanted.image_sha256, launchSha256]);
  return ok ? wanted.sealing_key : null;
}

/** It shows what it is, and goes on waiting. */
async function warm(needs: Needs, { hostId, machineId, incarnation, spare }: WarmAsk): Promise<void> {
  const talk = openTalk(needs.fleet.open(hostId, { kind: "attest", machineId, incarnation }), TALK_MS);
  try {
    const sealingKey = await sealingKeyOf(needs, talk, {
      ...{ hostId, machineId, owner: null, isolation: spare.isolation, cpus: spare.cpus },
      ...{ launchSha256: launchOf(spare).sha256, image: needs.guestImages.ofHash(spare.image_sha256) },
    });
    if (typeof sealingKey === "string") return await talk.refuse(sealingKey);
    await markWarm(needs, { machineId, incarnation }, sealingKey);
  } finally {
    talk.close();
  }
}

/** Made for this claim: nobody but its machine has the token, and we its hash. */
async function inferenceOf(
  { db, vault, inside }: Needs,
  ask: Ask,
): Promise<Pick<InstanceSecrets, "inference">> {
  const { wanted, incarnation } = ask;
  const custom = await customOf({ db: db.run, vault }, wanted.id);
  if (custom !== null) return { inference: custom };
  const place = inside();
  if (place === null || wanted.inference_model === null) return {};
  const about = { account: wanted.account_id, instance: wanted.id, incarnation };
  const token = await makeInstanceToken(db.run, about);
  return { inference: { baseUrl: place.baseUrl, token, model: wanted.inference_model } };
}
