// SPDX-License-Identifier: Apache-2.0
/** One rule that leads port 22 of a range of addresses to the port that is listened on there. */
import { forgetRedirect, redirect } from "./redirect.ts";

const TABLE = "casemate-ssh";

export const redirectSsh = (addresses: string, port: number): Promise<boolean> =>
  redirect(TABLE, [{ protocol: "tcp", addresses, from: 22, to: port }]);

export const forgetSshRedirect = (): Promise<boolean> => forgetRedirect(TABLE);
