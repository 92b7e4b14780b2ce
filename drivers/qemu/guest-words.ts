// SPDX-License-Identifier: Apache-2.0
/**
 * What a guest says, as far as this host acts on it. Whoever has the guest writes these answers: a member of another kind, or
 * more of it than there can honestly be, is nobody's answer.
 */
import { type Static, type TSchema, Type } from "typebox";
import { Compile } from "typebox/compile";
import { DriverFault } from "../driver.ts";

const Text = Type.String({ maxLength: 4_096 });
const Base64 = Type.String({ pattern: "^[A-Za-z0-9+/]*={0,2}$", maxLength: 65_536 });
const Amount = Type.Number({ minimum: 0, maximum: 2 ** 53 });

const answers = {
  claim: Type.Object({
    claimId: Type.String(),
    keys: Type.Object({ sealing: Base64, tls: Base64, request: Type.Union([Base64, Type.Null()]) }),
  }),
  evidence: Type.Object({
    platform: Type.Enum(["sev-snp", "tdx", "tpm", "none"]),
    bundle: Type.Union([Type.Record(Type.String(), Type.Unknown()), Type.Null()]),
    reportData: Type.String({ pattern: "^[0-9a-f]{128}$" }),
  }),
  activate: Type.Object({ secret: Base64 }),
  status: Type.Object({
    phase: Type.Enum(["idle", "preparing", "pulling", "starting", "running", "failed", "ended"]),
    detail: Text,
    public: Type.Boolean(),
    images: Type.Array(Type.Object({ service: Text, reference: Text, digest: Text }), { maxItems: 256 }),
    sshHostKeys: Type.Optional(
      Type.Array(Type.String({ pattern: "^[a-z0-9-]{1,40} [A-Za-z0-9+/]{1,2000}={0,2}( [ -~]{0,256})?$" }), {
        maxItems: 4,
      }),
    ),
  }),
  containers: Type.Object({
    containers: Type.Array(
      Type.Object({ names: Type.Array(Text, { maxItems: 16 }), image: Text, imageId: Text, state: Text }),
      { maxItems: 256 },
    ),
  }),
  logs: Type.Object({ lines: Type.Array(Type.String(), { maxItems: 100_000 }), next: Text }),
  stats: Type.Object({
    memory: Type.Object({ totalBytes: Amount, usedBytes: Amount }),
    cpus: Type.Array(Type.Object({ name: Text, usage: Amount }), { maxItems: 1_024 }),
    disks: Type.Array(
      Type.Object({
        ...{ name: Text, mountPoint: Text, filesystem: Text },
        ...{ sizeBytes: Amount, usedBytes: Amount },
      }),
      { maxItems: 64 },
    ),
  }),
} satisfies Record<string, TSchema>;

type Answers = typeof answers;
type Name = keyof Answers;

const compiled = Object.fromEntries(
  Object.entries(answers).map(([name, schema]) => [name, Compile(schema)]),
) as unknown as Record<Name, { Check(value: unknown): boolean }>;

/** @throws DriverFault When it is not what an agent of ours says. */
export function judged<N extends Name>(name: N, answer: unknown): Static<Answers[N]> {
  if (compiled[name].Check(answer)) return answer as Static<Answers[N]>;
  throw new DriverFault("machine.start-failed", `the guest's answer to ${name} is none`);
}
