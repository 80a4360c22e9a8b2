/**
 * Schemes that sign in a connection and not a request: whoever asks next over it is served as the same user (RFC 4559 section 6,
 * MS-NTHT). All others that are in use say with each request who asks.
 */
const BOUND_SCHEME = /(?:^|[\s,])(?:ntlm|negotiate|nego2|kerberos|credssp)(?=[\s,:]|$)/i;

/**
 * Whether a challenge or a credential of such a scheme stands in a field.
 * @param value of `WWW-Authenticate` or `Authorization`; may hold several challenges
 */
export function signsInConnection(value: string): boolean {
  return BOUND_SCHEME.test(value);
}
