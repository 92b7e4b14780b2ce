// SPDX-License-Identifier: Apache-2.0
/** Reads server-sent events to the end of the stream. */
export interface ReadEvent {
  id?: string;
  event: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests say what they expect of it.
  data: any;
}

export async function readEvents(url: string, init: RequestInit): Promise<ReadEvent[]> {
  const response = await fetch(url, init);
  if (!(response.headers.get("content-type") ?? "").startsWith("text/event-stream")) {
    throw new Error(`no event stream: ${response.status} ${await response.text()}`);
  }
  return (await response.text())
    .split("\n\n")
    .filter((block) => block !== "")
    .map((block) => {
      const field = (name: string) => new RegExp(`^${name}: (.*)$`, "m").exec(block)?.[1];
      const id = field("id");
      return {
        ...(id === undefined ? {} : { id }),
        event: field("event")!,
        data: JSON.parse(field("data")!),
      };
    });
}
