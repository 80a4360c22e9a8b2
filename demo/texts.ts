/** What the sample page says. `{name}` stands for a value that the page fills in. */
const english = {
  lang: "en",
  title: "Culvert sample app",
  lead: "A small web app on a machine that nobody can reach, and you are looking at it. Each card tries one thing that tunnels tend to break.",
  path: { label: "The way to this page", browser: "your browser", app: "this app" },
  noScript: "The checks need JavaScript. The form works without it.",
  summary: {
    waiting: "Checking …",
    works: "All {total} checks work through the tunnel",
    direct: "All {total} checks work, but this page was opened directly, without a tunnel",
    failed: "Not working: {names}",
  },
  state: { waiting: "waiting", works: "works", failed: "failed", direct: "no tunnel" },
  request: {
    title: "Forwarded request",
    about: "What the app learns about you, set by the server and not believed from the visitor.",
    direct: "No forwarding field came along: this page was opened directly.",
    field: "Field",
    value: "Value",
    all: "All {count} fields of the request",
  },
  form: {
    title: "Form",
    about: "A POST with a body, and its answer.",
    name: "Name",
    nameValue: "Ada",
    message: "Message",
    messageValue: "Hello, tunnel & friends",
    send: "Send",
    answer: "The app received:",
    works: "A form with odd characters came back unchanged in {ms}\u00a0ms.",
    failed: "The form did not come back as it was sent: {reason}",
  },
  upload: {
    title: "File upload",
    about: "Bytes flow at the pace of the slowest part; the app counts and hashes them.",
    choose: "File",
    send: "Upload",
    progress: "Upload progress",
    running: "{percent} % of {bytes} bytes",
    works: "{bytes} bytes arrived in {ms}\u00a0ms, SHA-256 equal.",
    counted: "{bytes} bytes arrived in {ms}\u00a0ms.",
    failed: "The upload failed: {reason}",
    none: "Choose a file first.",
  },
  socket: {
    title: "WebSocket echo",
    about: "A connection in both directions that stays open.",
    message: "Message",
    messageValue: "Are you there?",
    send: "Send",
    log: "Messages",
    works: "Text and {bytes} binary bytes came back in {ms}\u00a0ms.",
    failed: "The WebSocket ended: {reason}",
    echoed: "{text} · back in {ms}\u00a0ms",
  },
  events: {
    title: "Server-sent events",
    about: "One event a second, each sent immediately, not buffered.",
    clock: "The app’s clock",
    works: "{count} events so far, the last {ms}\u00a0ms after the one before.",
    silent: "No event for {seconds} s: something on the way holds the stream back.",
    failed: "The stream ended; trying again.",
  },
  notFound: "There is no such page in the sample app.",
  tooLarge: "The form is too large.",
  different: "what came back is not what was sent",
  timeout: "no answer in time",
  status: "the answer was {status}",
  closed: "closed with code {code}",
  unreachable: "no connection",
};

export type Texts = typeof english;

const chinese: Texts = {
  lang: "zh-CN",
  title: "Culvert 示例应用",
  lead: "这个小应用运行在一台外界无法访问的机器上，而您正在浏览它。下面每张卡片检验一项隧道常出问题的功能。",
  path: { label: "到达本页的路径", browser: "您的浏览器", app: "本应用" },
  noScript: "自动检测需要 JavaScript；表单无需 JavaScript 即可使用。",
  summary: {
    waiting: "正在检测……",
    works: "{total} 项检测全部正常，均经过隧道",
    direct: "{total} 项检测全部正常，但本页是直接打开的，没有经过隧道",
    failed: "异常：{names}",
  },
  state: { waiting: "等待中", works: "正常", failed: "失败", direct: "未经隧道" },
  request: {
    title: "转发的请求",
    about: "应用所知道的访问者信息：由服务器设置，不采信访问者自带的内容。",
    direct: "请求中没有转发字段：本页是直接打开的。",
    field: "字段",
    value: "值",
    all: "请求的全部 {count} 个字段",
  },
  form: {
    title: "表单",
    about: "带正文的 POST 请求及其应答。",
    name: "姓名",
    nameValue: "小明",
    message: "留言",
    messageValue: "隧道，你好！",
    send: "发送",
    answer: "应用收到：",
    works: "含特殊字符的表单在 {ms} 毫秒内原样返回。",
    failed: "表单没有原样返回：{reason}",
  },
  upload: {
    title: "文件上传",
    about: "数据按最慢一段的速度流动；应用统计字节数并计算哈希。",
    choose: "文件",
    send: "上传",
    progress: "上传进度",
    running: "{percent}%，共 {bytes} 字节",
    works: "{bytes} 字节在 {ms} 毫秒内送达，SHA-256 一致。",
    counted: "{bytes} 字节在 {ms} 毫秒内送达。",
    failed: "上传失败：{reason}",
    none: "请先选择文件。",
  },
  socket: {
    title: "WebSocket 回声",
    about: "一条保持打开的双向连接。",
    message: "消息",
    messageValue: "你在吗？",
    send: "发送",
    log: "消息记录",
    works: "文本和 {bytes} 字节二进制数据在 {ms} 毫秒内返回。",
    failed: "WebSocket 已断开：{reason}",
    echoed: "{text} · {ms} 毫秒后返回",
  },
  events: {
    title: "服务器推送事件（SSE）",
    about: "每秒一个事件，逐个即时送达，不会积压。",
    clock: "应用的时钟",
    works: "已收到 {count} 个事件，最近两个相隔 {ms} 毫秒。",
    silent: "{seconds} 秒没有收到事件：途中有环节截留了数据流。",
    failed: "事件流已中断，正在重试。",
  },
  notFound: "示例应用中没有这个页面。",
  tooLarge: "表单内容过大。",
  different: "返回的内容与发送的不一致",
  timeout: "未能及时收到应答",
  status: "应答状态为 {status}",
  closed: "关闭代码 {code}",
  unreachable: "无法连接",
};

/** The language that an Accept-Language field (RFC 9110 section 12.5.4) prefers of the two; English if neither. */
export function textsFor(acceptLanguage: string | undefined): Texts {
  const ranges = (acceptLanguage ?? "").split(",").map((part) => {
    const [range = "", ...parameters] = part.trim().toLowerCase().split(";");
    const weight = parameters.find((parameter) => parameter.trim().startsWith("q="));
    return { language: range.trim().split("-")[0], quality: weight ? Number(weight.trim().slice(2)) : 1 };
  });
  const qualityOf = (language: string): number =>
    Math.max(0, ...ranges.filter((range) => range.language === language).map((range) => range.quality));
  return qualityOf("zh") > qualityOf("en") ? chinese : english;
}

/** Puts values where `{name}` stands. */
export function fill(text: string, values: Record<string, string | number>): string {
  return text.replace(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole));
}
