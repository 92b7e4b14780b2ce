// SPDX-License-Identifier: Apache-2.0
/**
 * Processors that QEMU shows to a guest, by its names for them: what CPUID function 1 answers in EAX is part of what is measured.
 * Family, model and stepping are those of QEMU's target/i386/cpu.c.
 */
import { processorSignature } from "./launch-save-area.ts";

const MODELS = [
  { of: [23, 1, 2], names: ["EPYC", "EPYC-v1", "EPYC-v2", "EPYC-v3", "EPYC-v4", "EPYC-v5"] },
  {
    of: [23, 49, 0],
    names: ["EPYC-Rome", ...["EPYC-Rome-v1", "EPYC-Rome-v2", "EPYC-Rome-v3", "EPYC-Rome-v4", "EPYC-Rome-v5"]],
  },
  { of: [25, 1, 1], names: ["EPYC-Milan", "EPYC-Milan-v1", "EPYC-Milan-v2", "EPYC-Milan-v3"] },
  { of: [25, 17, 0], names: ["EPYC-Genoa", "EPYC-Genoa-v1", "EPYC-Genoa-v2"] },
  { of: [26, 0, 0], names: ["EPYC-Turin", "EPYC-Turin-v1"] },
] as const;

export const PROCESSOR_SIGNATURES: ReadonlyMap<string, number> = new Map(
  MODELS.flatMap(({ of: [family, model, stepping], names }) =>
    names.map((name) => [name, processorSignature(family, model, stepping)] as const),
  ),
);
