// SPDX-License-Identifier: Apache-2.0
/** As much of a browser as signing in needs: cookies with their paths, forms, and going where one is sent. */

interface Cookie {
  name: string;
  value: string;
  path: string;
}

export interface Shown {
  status: number;
  /** Where the page was, or where one is sent outside. */
  url: string;
  headers: Headers;
  text: string;
}

export interface Browser {
  get(url: string): Promise<Shown>;
  /** A form of the page last shown, as a browser sends it. */
  submit(members: Record<string, string>, headers?: Record<string, string>): Promise<Shown>;
  cookies: Cookie[];
}

/** Follows redirects within `origin`, and stops at the first that leaves it. */
export function openBrowser(origin: string): Browser {
  const cookies: Cookie[] = [];
  let at = origin;
  const cookieHeader = (path: string) =>
    cookies
      .filter((cookie) => path === cookie.path || path.startsWith(cookie.path.replace(/\/?$/, "/")))
      .map(({ name, value }) => `${name}=${value}`)
      .join("; ");
  const keep = (line: string, path: string) => {
    const [pair = "", ...attributes] = line.split(";").map((part) => part.trim());
    const [name = "", value = ""] = pair.split(/=(.*)/s);
    const given = attributes.map((each) => each.split("=")).find(([key]) => key!.toLowerCase() === "path");
    const cookie = { name, value, path: given?.[1] ?? path };
    const old = cookies.findIndex((each) => each.name === name && each.path === cookie.path);
    if (old >= 0) cookies.splice(old, 1);
    const over = attributes.some((each) => /^expires=/i.test(each) && new Date(each.slice(8)) < new Date());
    if (!over && value !== "") cookies.push(cookie);
  };
  const go = async (url: string, init: RequestInit): Promise<Shown> => {
    for (let turns = 0; turns < 10; turns++) {
      const { pathname } = new URL(url);
      const cookie = cookieHeader(pathname);
      const reply = await fetch(url, {
        ...init,
        redirect: "manual",
        headers: { accept: "text/html", ...(init.headers as object), ...(cookie === "" ? {} : { cookie }) },
      });
      for (const line of reply.headers.getSetCookie()) keep(line, pathname);
      const location = reply.headers.get("location");
      const text = await reply.text();
      if (location === null) {
        at = url;
        return { status: reply.status, url, headers: reply.headers, text };
      }
      const next = new URL(location, url);
      if (next.origin !== origin)
        return { status: reply.status, url: next.href, headers: reply.headers, text };
      [url, init] = [next.href, {}];
    }
    throw new Error("redirected in circles");
  };
  return {
    cookies,
    get: (url) => go(new URL(url, origin).href, {}),
    submit: (members, headers = {}) =>
      go(at, {
        method: "POST",
        body: new URLSearchParams(members).toString(),
        headers: { "content-type": "application/x-www-form-urlencoded", origin, ...headers },
      }),
  };
}
