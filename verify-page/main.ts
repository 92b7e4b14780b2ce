// SPDX-License-Identifier: Apache-2.0
/**
 * What a person sees. Every text of a file goes in by `textContent`: whoever made the file is the attacker, and a proof
 * must not be able to write its own verdict onto the page.
 */
import { type GivenFile, READ_BYTES_MAX, sortFiles } from "./files.ts";
import { type Judgement, judge, type Row } from "./judge.ts";

const byId = <E extends HTMLElement = HTMLElement>(id: string) => document.getElementById(id) as E;
const [drop, pick, list, result] = [
  byId("drop"),
  byId<HTMLInputElement>("pick"),
  byId("files"),
  byId("result"),
];
const pin = byId<HTMLInputElement>("pin");
let files: GivenFile[] = [];
/** Files are read in turn, so that two drops at once do not lose one. */
let reading = Promise.resolve();

function take(chosen: readonly File[]): void {
  reading = reading.then(async () => {
    for (const file of chosen) {
      const name = file.name;
      // The same name again is a newer version of it.
      files = files.filter((one) => one.name !== name);
      try {
        files.push({ name, bytes: new Uint8Array(await file.slice(0, READ_BYTES_MAX).arrayBuffer()) });
      } catch {
        // A folder, or a file that went away: no bytes are no proof, and that is what is said.
        files.push({ name, bytes: new Uint8Array() });
      }
    }
    show();
  });
}

function show(): void {
  const given = sortFiles(files);
  list.replaceChildren(
    ...given.taken.map(({ name, as, used }) =>
      element("li", used ? "" : "unused", [
        element("span", "mono", name),
        element("span", "as", used ? as : `${as}, so not used`),
      ]),
    ),
  );
  byId("pin-row").hidden = given.trustChain === null;
  byId("again-row").hidden = files.length === 0;
  const judgement = judge(given, pin.value);
  const missing = files.length === 0 ? [] : [element("p", "notice", "None of these is a proof. Add one.")];
  result.replaceChildren(...(judgement === null ? missing : shown(judgement)));
}

const TONE = { holds: "good", fails: "bad", "cannot be checked": "open" } as const;

/** A code of the closed list, as the verifier has it. */
const INCOMPLETE = "outcome_incomplete";

function shown({ standing, headline, notes, failures, warnings, facts, rows }: Judgement): HTMLElement[] {
  const coded = (kind: string) => (one: { code: string; sentence: string }) =>
    element("p", `notice ${kind}`, [one.sentence, element("span", "code", ` (${one.code})`)]);
  const incomplete = warnings.some(({ code }) => code === INCOMPLETE);
  const groups = Map.groupBy(rows, ({ group }) => group);
  return [
    element("div", `verdict ${standing === "holds" && incomplete ? "open" : TONE[standing]}`, [
      element("h2", "", headline),
      ...notes.map((note) => element("p", "", note)),
    ]),
    ...failures.map(coded("bad")),
    ...warnings.map(coded("")),
    ...(facts.length === 0 ? [] : [factList(facts)]),
    ...[...groups].flatMap(([group, its]) => [element("h2", "", group), table(its)]),
  ];
}

const factList = (facts: Judgement["facts"]) =>
  element(
    "dl",
    "",
    facts.flatMap(([name, value]) => [element("dt", "", name), element("dd", "", value)]),
  );

const MARKS = { ok: "✓ ok", failed: "✕ failed", "not checked": "– not checked" } as const;

function table(rows: Row[]): HTMLElement {
  const head = ["Check", "Result", "Shows", "Does not show"].map((text) => element("th", "", text));
  return element("table", "", [
    element("thead", "", [element("tr", "", head)]),
    element("tbody", "", rows.map(rowOf)),
  ]);
}

function rowOf({ name, status, shows, not }: Row): HTMLElement {
  const [th, what, whatNot] = [element("th", "", name), element("td", "", shows), element("td", "not", not)];
  th.setAttribute("scope", "row");
  what.dataset.head = "Shows";
  whatNot.dataset.head = "Does not show";
  const kind = status === "not checked" ? "unchecked" : status;
  return element("tr", "", [th, element("td", `status ${kind}`, MARKS[status]), what, whatNot]);
}

function element(tag: string, className: string, content: string | (Node | string)[]): HTMLElement {
  const made = document.createElement(tag);
  if (className !== "") made.className = className;
  made.append(...(typeof content === "string" ? [content] : content));
  return made;
}

pick.addEventListener("change", () => {
  take([...(pick.files ?? [])]);
  pick.value = "";
});
pin.addEventListener("input", show);
byId("again").addEventListener("click", () => {
  files = [];
  pin.value = "";
  show();
  pick.focus();
});
// Anywhere on the page: a file that misses the field would otherwise be opened in the page's place.
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  drop.classList.add("over");
});
document.addEventListener("dragleave", () => drop.classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  take([...(event.dataTransfer?.files ?? [])]);
});
