// SPDX-License-Identifier: Apache-2.0
/**
 * The part of QEMU's machine protocol that we speak: each command with what it takes and what it answers.
 * A guest that broke out into its QEMU process writes these answers, so each is held to its schema. Members
 * we do not read are let through: every QEMU version adds some.
 */
import { type Static, type TSchema, Type } from "typebox";

const None = Type.Object({});

export const COMMANDS = {
  qmp_capabilities: None,
  "query-version": Type.Object({
    qemu: Type.Object({ major: Type.Integer(), minor: Type.Integer(), micro: Type.Integer() }),
    package: Type.String(),
  }),
  "query-name": Type.Object({ name: Type.Optional(Type.String()) }),
  "query-status": Type.Object({ status: Type.String(), running: Type.Boolean() }),
  "query-kvm": Type.Object({ enabled: Type.Boolean(), present: Type.Boolean() }),
  /** Of processors with SEV, and refused by others. */
  "query-sev-capabilities": Type.Object({ cbitpos: Type.Integer(), "reduced-phys-bits": Type.Integer() }),
  stop: None,
  cont: None,
  /** Presses the power button; what the guest does about it is the guest's. */
  system_powerdown: None,
  quit: None,
} satisfies Record<string, TSchema>;

export type CommandName = keyof typeof COMMANDS;
export type CommandAnswer<Name extends CommandName> = Static<(typeof COMMANDS)[Name]>;

/** `gone`: the other end closed, broke or said what no QEMU says. `late`: an answer that comes after all is dropped. */
export type QmpFault =
  | { kind: "refused"; errorClass: string; message: string }
  | { kind: "late"; message: string }
  | { kind: "gone"; message: string };

export type QmpAnswer<T> = { ok: true; value: T } | { ok: false; fault: QmpFault };

export interface QmpEvent {
  name: string;
  data: Record<string, unknown>;
  /** Of QEMU's clock, which is the host's. */
  atMs: number;
}

const Version = Type.Object({ QMP: Type.Object({ version: COMMANDS["query-version"] }) });
const Event = Type.Object({
  event: Type.String({ maxLength: 64 }),
  data: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
  timestamp: Type.Object({ seconds: Type.Number(), microseconds: Type.Number() }),
});
const Refusal = Type.Object({
  id: Type.Integer(),
  error: Type.Object({ class: Type.String({ maxLength: 64 }), desc: Type.String() }),
});
const Return = Type.Object({ id: Type.Integer(), return: Type.Unknown() });

export const MESSAGES = { greeting: Version, event: Event, refusal: Refusal, return: Return };
