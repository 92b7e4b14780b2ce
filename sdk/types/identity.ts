// SPDX-License-Identifier: Apache-2.0
// Made from the contract's tables by `npm run generate`; not edited by hand.
/** Casemate identity: every operation by its id. */
export interface Operations {
  /** Get an access token */
  "oauth.token": {
    method: "POST";
    path: "/cdb/oauth2/token";
    body: Uint8Array;
    answers: {
      200: {
        access_token: string;
        token_type: string;
        expires_in: string;
        expires_at: number;
        refresh_token?: string;
        id_token?: string;
        scope?: string;
      };
    };
    errors: "limits.rate";
  };
  /** The keys that sign tokens */
  "oauth.jwks": {
    method: "GET";
    path: "/cdb/oauth2/jwks";
    answers: {
      200: Record<string, unknown>;
    };
    errors: "limits.rate";
  };
  /** What this authorization server can do, and where */
  "oauth.discovery": {
    method: "GET";
    path: "/.well-known/openid-configuration";
    answers: {
      200: Record<string, unknown>;
    };
    errors: "limits.rate";
  };
  /** The same under the name that OAuth alone gives it */
  "oauth.metadata": {
    method: "GET";
    path: "/.well-known/oauth-authorization-server";
    answers: {
      200: Record<string, unknown>;
    };
    errors: "limits.rate";
  };
  /** Begin to sign in on a device */
  "oauth.device": {
    method: "POST";
    path: "/cdb/oauth2/device";
    body: Uint8Array;
    answers: {
      200: {
        device_code: string;
        user_code: string;
        verification_uri: string;
        verification_uri_complete: string;
        expires_in: number;
      };
    };
    errors: "limits.rate";
  };
  /** Take a token back */
  "oauth.revoke": {
    method: "POST";
    path: "/cdb/oauth2/revoke";
    body: Uint8Array;
    answers: {
      200: undefined;
    };
    errors: "limits.rate";
  };
  /** Ask about a token */
  "oauth.introspect": {
    method: "POST";
    path: "/cdb/oauth2/introspect";
    body: Uint8Array;
    answers: {
      200: {
        active: boolean;
      };
    };
    errors: "limits.rate";
  };
  /** The page that a device sends people to */
  "oauth.device.show": {
    method: "GET";
    path: "/device";
    answers: {
      200: string;
    };
    errors: "limits.rate";
  };
  /** What the page sends */
  "oauth.device.take": {
    method: "POST";
    path: "/device";
    body: Uint8Array;
    answers: {
      200: string;
    };
    errors: "limits.rate";
  };
  /** The last page */
  "oauth.device.resume": {
    method: "GET";
    path: "/device/:uid";
    params: {
      uid: string;
    };
    answers: {
      200: string;
    };
    errors: "limits.rate";
  };
  /** Begin to sign in */
  "oauth.authorize": {
    method: "GET";
    path: "/authorize";
    answers: {
      303: undefined;
    };
    errors: "request.invalid" | "limits.rate";
  };
  /** Go on to the client, after the page */
  "oauth.resume": {
    method: "GET";
    path: "/authorize/:uid";
    params: {
      uid: string;
    };
    answers: {
      303: undefined;
    };
    errors: "limits.rate";
  };
  /** The sign-in page */
  "oauth.sign-in.show": {
    method: "GET";
    path: "/sign-in/:uid";
    params: {
      uid: string;
    };
    answers: {
      200: string;
    };
    errors: "limits.rate";
  };
  /** What the page sends */
  "oauth.sign-in": {
    method: "POST";
    path: "/sign-in/:uid";
    params: {
      uid: string;
    };
    body: Uint8Array;
    answers: {
      303: undefined;
    };
    errors: "limits.rate";
  };
  /** The way back from the provider outside, where one is configured */
  "oauth.sign-in.outside": {
    method: "GET";
    path: "/sign-in-outside";
    answers: {
      303: undefined;
    };
    errors: "limits.rate";
  };
  /** Organizations that the caller may act for */
  "identity.organizations.list": {
    method: "GET";
    path: "/cdb/organizations";
    query: {
      /** 50 unless given; above 500 it is 500 */
      limit?: number;
      offset?: number;
      /** A member's name; with `-` before it, downwards */
      OrderBy?: string;
      q?: string;
    };
    answers: {
      200: Organization[];
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate";
  };
  /** Found an organization */
  "identity.organizations.create": {
    method: "POST";
    path: "/cdb/organizations";
    body: {
      Name: string;
    };
    answers: {
      201: Organization;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate";
    /** Takes Idempotency-Key. */
    idempotent: true;
  };
  /** An organization */
  "identity.organizations.get": {
    method: "GET";
    path: "/cdb/organizations/:uuid";
    params: {
      uuid: string;
    };
    answers: {
      200: Organization;
      304: undefined;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "organization.not-found";
  };
  /** Rename an organization */
  "identity.organizations.update": {
    method: "PATCH";
    path: "/cdb/organizations/:uuid";
    params: {
      uuid: string;
    };
    body: {
      Name: string;
    };
    answers: {
      200: Organization;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "organization.not-found" | "request.precondition";
  };
  /** Members */
  "identity.organizations.members.list": {
    method: "GET";
    path: "/cdb/organizations/:uuid/members";
    params: {
      uuid: string;
    };
    query: {
      /** 50 unless given; above 500 it is 500 */
      limit?: number;
      offset?: number;
      /** A member's name; with `-` before it, downwards */
      OrderBy?: string;
    };
    answers: {
      200: ({
        UUID: string;
        Email: string;
        Name: string;
        Role: string;
        /** UTC, ISO 8601 */
        CreatedAt: string;
      })[];
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "organization.not-found";
  };
  /** Invite somebody */
  "identity.organizations.members.invite": {
    method: "POST";
    path: "/cdb/organizations/:uuid/members";
    params: {
      uuid: string;
    };
    body: {
      Email: string;
      Role: "administrator" | "operator" | "viewer";
    };
    answers: {
      201: {
        UUID: string;
        Email: string;
        Role: string;
        /** UTC, ISO 8601 */
        CreatedAt: string;
        /** UTC, ISO 8601 */
        ExpiresAt: string;
        Invitation: string;
      };
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "organization.not-found";
  };
  /** Give a member another role */
  "identity.organizations.members.change": {
    method: "PATCH";
    path: "/cdb/organizations/:uuid/members/:user";
    params: {
      uuid: string;
      user: string;
    };
    body: {
      Role: "administrator" | "operator" | "viewer";
    };
    answers: {
      200: {
        UUID: string;
        Email: string;
        Name: string;
        Role: string;
        /** UTC, ISO 8601 */
        CreatedAt: string;
      };
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "organization.not-found" | "member.not-found" | "member.last-administrator";
  };
  /** Take a member out, or leave */
  "identity.organizations.members.remove": {
    method: "DELETE";
    path: "/cdb/organizations/:uuid/members/:user";
    params: {
      uuid: string;
      user: string;
    };
    answers: {
      204: undefined;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "organization.not-found" | "member.not-found" | "member.last-administrator";
  };
  /** Invitations that are open */
  "identity.organizations.invitations.list": {
    method: "GET";
    path: "/cdb/organizations/:uuid/invitations";
    params: {
      uuid: string;
    };
    query: {
      /** 50 unless given; above 500 it is 500 */
      limit?: number;
      offset?: number;
      /** A member's name; with `-` before it, downwards */
      OrderBy?: string;
    };
    answers: {
      200: ({
        UUID: string;
        Email: string;
        Role: string;
        /** UTC, ISO 8601 */
        CreatedAt: string;
        /** UTC, ISO 8601 */
        ExpiresAt: string;
      })[];
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "organization.not-found";
  };
  /** Withdraw an invitation */
  "identity.organizations.invitations.withdraw": {
    method: "DELETE";
    path: "/cdb/organizations/:uuid/invitations/:invitation";
    params: {
      uuid: string;
      invitation: string;
    };
    answers: {
      204: undefined;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "organization.not-found" | "member.not-found";
  };
  /** Members */
  "identity.channel_partners.members.list": {
    method: "GET";
    path: "/cdb/channel_partners/:uuid/members";
    params: {
      uuid: string;
    };
    query: {
      /** 50 unless given; above 500 it is 500 */
      limit?: number;
      offset?: number;
      /** A member's name; with `-` before it, downwards */
      OrderBy?: string;
    };
    answers: {
      200: ({
        UUID: string;
        Email: string;
        Name: string;
        Role: string;
        /** UTC, ISO 8601 */
        CreatedAt: string;
      })[];
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "organization.not-found";
  };
  /** Invite somebody */
  "identity.channel_partners.members.invite": {
    method: "POST";
    path: "/cdb/channel_partners/:uuid/members";
    params: {
      uuid: string;
    };
    body: {
      Email: string;
      Role: "administrator" | "account_manager" | "accountant";
    };
    answers: {
      201: {
        UUID: string;
        Email: string;
        Role: string;
        /** UTC, ISO 8601 */
        CreatedAt: string;
        /** UTC, ISO 8601 */
        ExpiresAt: string;
        Invitation: string;
      };
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "organization.not-found";
  };
  /** Give a member another role */
  "identity.channel_partners.members.change": {
    method: "PATCH";
    path: "/cdb/channel_partners/:uuid/members/:user";
    params: {
      uuid: string;
      user: string;
    };
    body: {
      Role: "administrator" | "account_manager" | "accountant";
    };
    answers: {
      200: {
        UUID: string;
        Email: string;
        Name: string;
        Role: string;
        /** UTC, ISO 8601 */
        CreatedAt: string;
      };
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "organization.not-found" | "member.not-found" | "member.last-administrator";
  };
  /** Take a member out, or leave */
  "identity.channel_partners.members.remove": {
    method: "DELETE";
    path: "/cdb/channel_partners/:uuid/members/:user";
    params: {
      uuid: string;
      user: string;
    };
    answers: {
      204: undefined;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "organization.not-found" | "member.not-found" | "member.last-administrator";
  };
  /** Invitations that are open */
  "identity.channel_partners.invitations.list": {
    method: "GET";
    path: "/cdb/channel_partners/:uuid/invitations";
    params: {
      uuid: string;
    };
    query: {
      /** 50 unless given; above 500 it is 500 */
      limit?: number;
      offset?: number;
      /** A member's name; with `-` before it, downwards */
      OrderBy?: string;
    };
    answers: {
      200: ({
        UUID: string;
        Email: string;
        Role: string;
        /** UTC, ISO 8601 */
        CreatedAt: string;
        /** UTC, ISO 8601 */
        ExpiresAt: string;
      })[];
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "organization.not-found";
  };
  /** Withdraw an invitation */
  "identity.channel_partners.invitations.withdraw": {
    method: "DELETE";
    path: "/cdb/channel_partners/:uuid/invitations/:invitation";
    params: {
      uuid: string;
      invitation: string;
    };
    answers: {
      204: undefined;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "organization.not-found" | "member.not-found";
  };
  /** Become a member by an invitation */
  "identity.invitations.accept": {
    method: "POST";
    path: "/cdb/invitations/accept";
    body: {
      Invitation: string;
    };
    answers: {
      200: {
        UUID: string;
      };
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "identity.invitation";
  };
  /** Channel partners that the caller is somebody of */
  "identity.channel_partners.list": {
    method: "GET";
    path: "/cdb/channel_partners";
    query: {
      /** 50 unless given; above 500 it is 500 */
      limit?: number;
      offset?: number;
      /** A member's name; with `-` before it, downwards */
      OrderBy?: string;
    };
    answers: {
      200: ({
        UUID: string;
        Name: string;
        Role: string | null;
        /** UTC, ISO 8601 */
        CreatedAt: string;
      })[];
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate";
  };
  /** Partners that may act for an organization */
  "identity.organizations.channel_partners.list": {
    method: "GET";
    path: "/cdb/organizations/:uuid/channel_partners";
    params: {
      uuid: string;
    };
    query: {
      /** 50 unless given; above 500 it is 500 */
      limit?: number;
      offset?: number;
      /** A member's name; with `-` before it, downwards */
      OrderBy?: string;
    };
    answers: {
      200: ({
        UUID: string;
        Name: string;
        AccessLevel: string;
        /** UTC, ISO 8601 */
        CreatedAt: string;
      })[];
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "organization.not-found";
  };
  /** Let a partner act for an organization */
  "identity.organizations.channel_partners.grant": {
    method: "PUT";
    path: "/cdb/organizations/:uuid/channel_partners/:partner";
    params: {
      uuid: string;
      partner: string;
    };
    body: {
      AccessLevel: "organization_administrator" | "system_health_monitor" | "subscription_service_manager";
    };
    answers: {
      200: {
        UUID: string;
        Name: string;
        AccessLevel: string;
        /** UTC, ISO 8601 */
        CreatedAt: string;
      };
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "organization.not-found" | "partner.not-found";
  };
  /** Let a partner act no more */
  "identity.organizations.channel_partners.revoke": {
    method: "DELETE";
    path: "/cdb/organizations/:uuid/channel_partners/:partner";
    params: {
      uuid: string;
      partner: string;
    };
    answers: {
      204: undefined;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "organization.not-found" | "partner.not-found";
  };
  /** Make a service token for whom the caller acts for */
  "identity.tokens.create": {
    method: "POST";
    path: "/cdb/tokens";
    body: {
      Name: string;
      Permissions: ("organization:read" | "models:read" | "models:write" | "devices:health" | "devices:read" | "devices:write" | "subscriptions:read" | "subscriptions:write")[];
      /** 90 days unless given */
      LifetimeSeconds?: number;
    };
    answers: {
      201: {
        UUID: string;
        Name: string;
        /** Its first characters */
        Prefix: string;
        Permissions: string[];
        /** UTC, ISO 8601 */
        CreatedAt: string;
        /** UTC, ISO 8601 */
        ExpiresAt: string;
        Token: string;
      };
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate";
  };
  /** Service tokens of whom the caller acts for */
  "identity.tokens.list": {
    method: "GET";
    path: "/cdb/tokens";
    query: {
      /** 50 unless given; above 500 it is 500 */
      limit?: number;
      offset?: number;
      /** A member's name; with `-` before it, downwards */
      OrderBy?: string;
    };
    answers: {
      200: ({
        UUID: string;
        Name: string;
        /** Its first characters */
        Prefix: string;
        Permissions: string[];
        /** UTC, ISO 8601 */
        CreatedAt: string;
        /** UTC, ISO 8601 */
        ExpiresAt: string;
      })[];
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate";
  };
  /** End a service token */
  "identity.tokens.revoke": {
    method: "DELETE";
    path: "/cdb/tokens/:uuid";
    params: {
      uuid: string;
    };
    answers: {
      204: undefined;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "token.not-found";
  };
  /** Become a user */
  "identity.users.create": {
    method: "POST";
    path: "/cdb/users";
    body: {
      Email: string;
      Password: string;
      Name: string;
      Invitation?: string;
    };
    answers: {
      201: User;
    };
    errors: "request.invalid" | "identity.email-taken" | "identity.sign-up-closed" | "identity.invitation" | "limits.rate";
  };
  /** Who the caller is, and for whom they act */
  "identity.users.me": {
    method: "GET";
    path: "/cdb/users/me";
    answers: {
      200: {
        Kind: "user" | "client";
        ID: string;
        Name: string;
        ActingFor: {
          Kind: string;
          UUID: string;
          Name: string;
        };
        Permissions: string[];
      };
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate";
  };
  /** Change one's password */
  "identity.users.password": {
    method: "POST";
    path: "/cdb/users/me/password";
    body: {
      Current: string;
      Password: string;
    };
    answers: {
      204: undefined;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "identity.wrong-password" | "identity.guesses";
  };
  /** Sign out everywhere */
  "identity.users.sign-out": {
    method: "POST";
    path: "/cdb/users/me/sign-out";
    answers: {
      204: undefined;
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate";
  };
  /** Sign in with a password */
  "identity.legacy.sign-in": {
    method: "POST";
    path: "/auth/authenticate/signin";
    body: {
      Username: string;
      Password: string;
      KeepLoggedIn?: boolean;
    };
    answers: {
      200: {
        AccessToken: string;
        RefreshToken: string;
      };
    };
    errors: "identity.token" | "identity.guesses" | "limits.rate" | "identity.wrong-login";
  };
  /** New tokens for a refresh token */
  "identity.legacy.refresh": {
    method: "POST";
    path: "/auth/authenticate/refresh-token";
    body?: {
      GrantType?: string;
      RefreshToken?: string;
    };
    answers: {
      200: {
        AccessToken: string;
        RefreshToken: string;
      };
    };
    errors: "identity.token" | "identity.guesses" | "limits.rate";
  };
  /** End this sign-in */
  "identity.legacy.sign-out": {
    method: "POST";
    path: "/auth/authenticate/signout";
    answers: {
      200: {
        Message: string;
      };
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate";
  };
  /** Oneself */
  "identity.legacy.user": {
    method: "GET";
    path: "/auth/user/:uuid";
    params: {
      uuid: string;
    };
    answers: {
      200: {
        UUID: string;
        Email: string;
        Name: string;
        OrganisationUUID: string;
      };
    };
    errors: "identity.token" | "identity.not-a-member" | "identity.scope" | "request.invalid" | "limits.rate" | "account.not-found";
  };
}

/** What an answer of status 400 and above holds. */
export type Failure = ErrorBody;

export interface ErrorBody {
  Message: string;
  Field?: {
    Name: string;
    Message: string;
  };
  AuthorizationInvalid?: boolean;
  UUID?: string;
  /** Stable; of a closed vocabulary */
  Code: string;
  RequestID: string;
}

export interface Organization {
  UUID: string;
  Name: string;
  ChannelPartner: {
    UUID: string;
    Name: string;
  } | null;
  /** Of the caller; null: none of their own */
  Role: string | null;
  /** What the caller may do acting for it */
  Permissions: string[];
  /** UTC, ISO 8601 */
  CreatedAt: string;
  /** UTC, ISO 8601 */
  UpdatedAt: string;
}

export interface User {
  UUID: string;
  Email: string;
  Name: string;
  /** UTC, ISO 8601 */
  CreatedAt: string;
}
