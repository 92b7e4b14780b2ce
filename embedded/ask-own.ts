// SPDX-License-Identifier: Apache-2.0
/**
 * A question to the control that we started, at its address here. Its certificate is for the name that
 * strangers use, so it is not looked at; who answers is known by a word in the answer (`/readyz`).
 */
import { type ClientRequest, get as httpGet, type IncomingHttpHeaders } from "node:http";
import { get as httpsGet } from "node:https";
import { text } from "node:stream/consumers";

const ANSWER_MS = 5_000;

export interface OwnAnswer {
  status: number;
  headers: IncomingHttpHeaders;
  text: string;
}

/** Null when nobody answers. */
export function askOwn(url: string): Promise<OwnAnswer | null> {
  return new Promise((resolve) => {
    const get = url.startsWith("https:") ? httpsGet : httpGet;
    get(url, { rejectUnauthorized: false, agent: false, timeout: ANSWER_MS }, (response) => {
      const { statusCode = 0, headers } = response;
      text(response).then(
        (body) => resolve({ status: statusCode, headers, text: body }),
        () => resolve(null),
      );
    })
      .on("timeout", function (this: ClientRequest) {
        this.destroy();
      })
      .on("error", () => resolve(null));
  });
}
