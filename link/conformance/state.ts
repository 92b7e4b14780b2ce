// SPDX-License-Identifier: Apache-2.0
/** What is desired goes out, what was observed comes in and is confirmed when control has it. */
import { expect, test } from "vitest";
import type { ChallengeWish } from "#contract/link/challenge.ts";
import type { Desired } from "#contract/link/machine.ts";
import type { ControlHandlers } from "../port.ts";
import { desiredOf, factsOf, type LinkFactory, linked, REQUEST, running, until } from "./pair.ts";

export function desiredAndObserved(factory: LinkFactory): void {
  test("no object is shared across the link (A)", async () => {
    await linked(factory, {}, async ({ link, host, batches, observed, until, joins }) => {
      const wish = desiredOf(1);
      link.sendDesired("host_a", [wish]);
      wish.generation = 99;
      await until("the batch", () => batches.length > 0);
      expect(batches[0]).toEqual({ batch: [desiredOf(1)], complete: false });
      const said = running(1);
      const reported = host.report([said]);
      said.generation = 99;
      await reported;
      expect(observed[0]).toEqual(running(1));
      link.hosts()[0]!.hostId = "changed";
      expect(link.hosts()[0]!.hostId).toBe("host_a");
      expect(joins[0]!.hostId).toBe("host_a");
    });
  });

  test("a batch larger than a frame arrives as one, complete or not", async () => {
    await linked(factory, {}, async ({ link, batches, until }) => {
      const many = Array.from({ length: 5_000 }, (_, number) => desiredOf(number));
      link.sendDesired("host_a", many, true);
      await until("the batch", () => batches.length > 0);
      expect(batches).toHaveLength(1);
      expect(batches[0]!.complete).toBe(true);
      expect(batches[0]!.batch).toHaveLength(5_000);
      link.sendDesired("host_a", [], true);
      await until("the empty batch", () => batches.length > 1);
      expect(batches[1]).toEqual({ batch: [], complete: true });
    });
  });

  test("a report is rejected when control did not commit it, and taken when said again (E)", async () => {
    let broken = true;
    await linked(
      factory,
      {
        onObserved() {
          if (broken) throw new Error("no database");
        },
      },
      async ({ host, observed }) => {
        await expect(host.report([running(1)])).rejects.toThrow();
        expect(observed).toEqual([]);
        broken = false;
        await host.report([running(1)]);
        expect(observed).toEqual([running(1)]);
      },
    );
  });

  test("a challenge is published when control wrote it down, refused by control's code, and waits for no report (E)", async () => {
    const wishes: ChallengeWish[] = [];
    const gate = Promise.withResolvers<void>();
    const wish = (want: ChallengeWish["want"]): ChallengeWish => ({
      ...{ machineId: `mach_${"0".repeat(32)}`, domain: "a.example", value: "v".repeat(43), want },
    });
    const onChallenge = async (hostId: string, said: ChallengeWish) => {
      expect(hostId).toBe("host_a");
      if (said.want === "withdrawn") throw Object.assign(new Error("no"), { code: "names.not-held" });
      wishes.push(said);
    };
    const options = { onChallenge, beforeCommit: () => gate.promise };
    await linked(factory, options, async ({ host, observed }) => {
      const reported = host.report([running(1)]);
      await host.publish(wish("published"));
      expect([wishes, observed]).toEqual([[wish("published")], []]);
      await expect(host.publish(wish("withdrawn"))).rejects.toMatchObject({ code: "names.not-held" });
      gate.resolve();
      await reported;
    });
    await linked(factory, {}, async ({ host }) => {
      await expect(host.publish(wish("published"))).rejects.toMatchObject({ code: "link.no-challenges" });
    });
  });

  test("a question about residues is answered with what control found or its code, and waits for no report", async () => {
    const gate = Promise.withResolvers<void>();
    const { machineId } = desiredOf(1);
    const onResidues: ControlHandlers["onResidues"] = async (hostId, question) => {
      if (question.machineId !== machineId) throw Object.assign(new Error("no"), { code: "machine.unknown" });
      expect(hostId).toBe("host_a");
      return { rows: 2, keys: 1 };
    };
    await linked(factory, { onResidues, beforeCommit: () => gate.promise }, async ({ host, observed }) => {
      const reported = host.report([running(1)]);
      expect(await host.findResidues({ machineId })).toEqual({ rows: 2, keys: 1 });
      expect(observed).toEqual([]);
      const another = host.findResidues({ machineId: desiredOf(2).machineId });
      await expect(another).rejects.toMatchObject({ code: "machine.unknown" });
      gate.resolve();
      await reported;
    });
    await linked(factory, {}, async ({ host }) => {
      await expect(host.findResidues({ machineId })).rejects.toMatchObject({ code: "link.no-residues" });
    });
  });

  test("a report larger than a frame is committed whole before it resolves (E)", async () => {
    await linked(factory, {}, async ({ host, observed }) => {
      const proof = "p".repeat(200_000);
      const many = Array.from({ length: 12 }, (_, number) => ({
        ...running(number),
        state: "ended" as const,
        ended: {
          trigger: "api",
          outcome: "complete" as const,
          endedAt: "now",
          proof,
          saltHex: "0".repeat(64),
        },
      }));
      await host.report(many);
      expect(observed.map((one) => one.ended!.proof.length)).toEqual(many.map(() => 200_000));
    });
  });

  test("a report under way when the link drops is rejected (E)", async () => {
    let release!: () => void;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const control = await factory.control({
      async onHost() {},
      onHostGone() {},
      onObserved: () => held,
    });
    const host = await control.dial(factsOf("host_a"), { onDesired() {}, onStream() {} });
    try {
      await until("the host", () => control.link.hosts().length > 0);
      const reported = host.report([running(1)]).then(
        () => "committed",
        () => "rejected",
      );
      await new Promise((resolve) => setTimeout(resolve, 20));
      await control.drop();
      expect(await reported).toBe("rejected");
    } finally {
      release();
      await host.close();
      await control.link.close();
      await control.dispose();
    }
  });

  test("a host that control could not take in comes again", async () => {
    let refusals = 2;
    await linked(
      factory,
      {
        onHost() {
          if (refusals-- > 0) throw new Error("no database");
        },
      },
      async ({ link }) => {
        expect(link.hosts().map((facts) => facts.hostId)).toEqual(["host_a"]);
      },
    );
  });

  test("a host that control drops loses its streams, and comes again only as far as control lets it", async () => {
    let putOut = false;
    let refused = 0;
    await linked(
      factory,
      {
        onHost() {
          if (!putOut) return;
          refused += 1;
          throw new Error("put out");
        },
        onStream: () => {},
      },
      async ({ link, gone, joins, until }) => {
        const stream = link.openStream("host_a", REQUEST);
        link.drop("host_b");
        putOut = true;
        link.drop("host_a");
        expect(await stream.ended).toEqual({ kind: "lost" });
        await until("two refusals", () => refused >= 2);
        expect(gone.length).toBeGreaterThanOrEqual(1);
        expect(joins).toHaveLength(1);
        putOut = false;
        await until("the host again", () => joins.length > 1);
      },
    );
  });

  test("changed facts reach control, and survive a reconnect", async () => {
    await linked(factory, {}, async ({ host, joins, link, control, until }) => {
      host.announce({ ...factsOf("host_a"), engines: { eee: false } });
      await until("the facts", () => joins.at(-1)?.engines.eee === false);
      expect(link.hosts()[0]!.engines).toEqual({ eee: false });
      await control.drop();
      await until("the return", () => joins.length === 3);
      expect(joins[2]!.engines).toEqual({ eee: false });
    });
  });

  test("two hosts get what is theirs", async () => {
    await linked(factory, {}, async ({ link, control, batches, until }) => {
      const others: Desired[][] = [];
      const second = await control.dial(factsOf("host_b"), {
        onDesired: (batch) => others.push(batch),
        onStream: (_request, stream) => stream.end({ kind: "done", trailer: "b" }),
      });
      try {
        await until("both hosts", () => link.hosts().length === 2);
        link.sendDesired("host_a", [desiredOf(1)]);
        link.sendDesired("host_b", [desiredOf(2)]);
        await until("both batches", () => batches.length > 0 && others.length > 0);
        expect(batches[0]!.batch).toEqual([desiredOf(1)]);
        expect(others).toEqual([[desiredOf(2)]]);
        expect(await link.openStream("host_b", REQUEST).ended).toEqual({ kind: "done", trailer: "b" });
      } finally {
        await second.close();
      }
    });
  });
}
