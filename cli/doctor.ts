// SPDX-License-Identifier: Apache-2.0
/**
 * `casemate doctor`: what works on this computer, what is missing and how to get it, one line for each
 * check. Exit 0 when `casemate up` can serve sessions, 1 when it cannot.
 */
import { CHECKS, thisComputer } from "#embedded/doctor/all.ts";
import { type Examination, type Examined, examine } from "#embedded/doctor/examine.ts";

export interface DoctorOptions {
  state: string;
  json?: boolean;
}

export async function doctorCommand({ state, json = false }: DoctorOptions): Promise<number> {
  const found = await examine(CHECKS, thisComputer(state));
  process.stdout.write(json ? `${JSON.stringify(found)}\n` : `${linesOf(found).join("\n")}\n`);
  return found.sessions ? 0 : 1;
}

function linesOf({ checks, sentence }: Examination): string[] {
  const groups = [...new Set(checks.map(({ group }) => group))];
  const width = Math.max(...checks.map(({ name }) => name.length));
  return [
    ...groups.flatMap((group) => [
      group,
      ...checks.filter((each) => each.group === group).map((each) => lineOf(each, width)),
      "",
    ]),
    sentence,
  ];
}

function lineOf({ state, name, says, get }: Examined, width: number): string {
  const line = `  ${state.padEnd(7)}  ${name.padEnd(width)}  ${says}`;
  return get === undefined ? line : `${line} -> ${get}`;
}
