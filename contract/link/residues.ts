// SPDX-License-Identifier: Apache-2.0
/**
 * What control's database still holds of a machine whose end is being measured. A host asks when the
 * machine's processes are gone and before its proof is signed: the database is control's, so only control
 * can look. Control answers for machines that it gave to this host, and for no others.
 */
import { type Static, Type } from "typebox";

const Count = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });

export const ResidueQuestion = Type.Object(
  { machineId: Type.String({ pattern: "^mach_[0-9a-f]{32}$" }) },
  { additionalProperties: false },
);

export const Residues = Type.Object(
  {
    /** Rows about the machine's session with anything beyond words and numbers of a known name. */
    rows: Count,
    /** Keys that were lent for the machine and open something still. */
    keys: Count,
  },
  { additionalProperties: false },
);

export type ResidueQuestion = Static<typeof ResidueQuestion>;
export type Residues = Static<typeof Residues>;
