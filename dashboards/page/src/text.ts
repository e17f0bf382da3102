// Every word of the page, English and Chinese side by side. {0}, {1} are filled in.

import { OFFICE_WORDS } from "./officewords";
import type { Language, Named } from "./records";

const WORDS = {
  ...OFFICE_WORDS,
  product: ["CityWhistle", "数字吹哨"],
  queue: ["Whistles", "吹哨队列"],
  queueEmpty: ["Nothing whistles. All devices behave as expected.", "暂无吹哨，所有设备运行正常。"],
  queueHelp: ["Keys: j/k move, Enter opens, a accepts, c closes, t to accept, / finds a device", "快捷键：j/k 上下移动，Enter 打开，a 受理，c 结案，t 待受理，/ 查找设备"],
  open: ["open", "未结"],
  showClosed: ["Closed too", "含已结案"],
  severity1: ["Info", "提示"],
  severity2: ["Normal", "一般"],
  severity3: ["Urgent", "紧急"],
  severity4: ["Emergency", "特急"],
  state_found: ["found", "发现"],
  state_filed: ["filed", "立案"],
  state_dispatched: ["dispatched", "已派遣"],
  state_accepted: ["accepted", "已受理"],
  state_handled: ["handled", "已处置"],
  state_verified: ["verified", "已核查"],
  state_closed: ["closed", "已结案"],
  state_evaluated: ["evaluated", "已评价"],
  state_cancelled: ["cancelled", "已撤销"],
  next_found: ["looking for a cause", "正在查找原因"],
  next_filed: ["to be dispatched", "待派遣"],
  next_dispatched: ["to be accepted", "待受理"],
  next_accepted: ["in hand", "处置中"],
  next_handled: ["to be verified", "待核查"],
  next_verified: ["to be closed", "待结案"],
  todo: ["To accept", "待受理"],
  todoLabel: ["Show only whistles that nobody has accepted, the most severe first", "仅显示待受理的吹哨，按严重程度排序"],
  todoEmpty: ["Nothing waits for you: every open whistle has been accepted.", "没有待受理的吹哨，全部已受理。"],
  waitsFound: ["The twin looks for a common cause first; then it is sent.", "系统正在查找共同原因，随后派遣。"],
  waitsFiled: ["It is with no department: kept quiet, returned, or just being sent.", "目前未派遣至责任部门：静默中、已退回或正在派遣。"],
  evidenceChart: ["What the device said", "设备读数"],
  census_odd: ["odd", "有迹象"],
  census_case: ["with a case", "有案件"],
  census_urgent: ["urgent", "有紧急案件"],
  census_silent: ["silent", "无上报"],
  census_unseen: ["never heard", "从未上报"],
  device_fine: ["as expected", "正常"],
  device_odd: ["odd", "异常迹象"],
  device_case: ["case open", "有案件"],
  device_urgent: ["urgent case", "紧急案件"],
  device_silent: ["silent", "无上报"],
  device_unseen: ["never heard", "从未上报"],
  accept: ["Accept", "受理"],
  close: ["Close…", "结案…"],
  closeCase: ["Close the case", "结案"],
  closeWhy: ["Why is it closed?", "结案原因"],
  whyHandled: ["Handled on site", "现场已处置"],
  whyFalse: ["False whistle", "误报"],
  whyDuplicate: ["Duplicate of another case", "与其他案件重复"],
  whyPlanned: ["Planned work", "计划作业"],
  whyMore: ["Remark (optional)", "备注（可选）"],
  cancel: ["Cancel", "取消"],
  shut: ["Close", "关闭"],
  back: ["Close panel", "关闭面板"],
  accepted: ["Accepted: {0}", "已受理：{0}"],
  closed: ["Closed: {0}", "已结案：{0}"],
  newWhistle: ["New whistle, {0}: {1}", "新吹哨，{0}：{1}"],
  department: ["Department", "责任部门"],
  party_joint: ["Acts jointly", "联合处置"],
  party_escalated: ["Told: deadline passed", "超时上报"],
  party_told: ["Told besides", "知会部门"],
  noAnswerYet: ["no answer yet", "尚未回应"],
  returnedBy: ["Given back by", "退回部门"],
  deadline: ["Deadline", "处置时限"],
  due: ["due in {0}", "剩余{0}"],
  overdue: ["{0} overdue", "超时{0}"],
  opened: ["Opened", "立案时间"],
  since: ["First evidence", "首次证据"],
  subject: ["Where", "对象"],
  child: ["1 symptom", "1个关联症状"],
  children: ["{0} symptoms", "{0}个关联症状"],
  earlierTitle: ["Again: same type, same subject or company, within 90 days ({0})", "重复发生：90天内同一对象或企业的同类案件（{0}）"],
  childrenTitle: ["Explained by this cause ({0})", "由此原因引起（{0}）"],
  parent: ["Caused by", "上级原因"],
  evidence: ["Evidence", "证据"],
  history: ["History", "处理过程"],
  deliveries: ["What was sent", "发送记录"],
  noDeliveries: ["Nothing has been sent yet.", "尚未发送。"],
  sent: ["sent", "已送达"],
  pending: ["waiting", "待发送"],
  dead: ["given up", "已放弃"],
  attempts: ["{0} attempts", "尝试{0}次"],
  past: ["found in delayed data", "由延迟数据发现"],
  stillActive: ["Telemetry still shows it", "遥测仍显示异常"],
  notActive: ["Telemetry shows it no more", "遥测已恢复正常"],
  gone: ["This case has left the queue.", "该案件已移出队列。"],
  values: ["Last values", "最新读数"],
  desired: ["Desired by order", "指令设定"],
  desired_row: ["{0}: {1} desired, {2} reported", "{0}：设定{1}，上报{2}"],
  desired_differs: ["differs", "不一致"],
  desired_same: ["as desired", "一致"],
  quantity: ["Quantity", "指标"],
  observed: ["Observed", "实测"],
  expected: ["Expected", "预期"],
  band: ["Expected band", "预期区间"],
  age: ["Age", "距今"],
  chartRange: ["Range of the chart", "曲线时间范围"],
  range1h: ["1 h", "1小时"],
  range6h: ["6 h", "6小时"],
  range24h: ["24 h", "24小时"],
  range7d: ["7 d", "7天"],
  refused: ["Refused readings", "被拒读数"],
  noSeries: ["No stored values in this range.", "该时段没有已存数据。"],
  chartSaid: ["{0}: last observed {1}, expected {2} to {3}", "{0}：最新实测{1}，预期{2}至{3}"],
  chartAhead: ["in 24 h {0} expected, {1} to {2} (95 %)", "24小时后预计{0}，{1}至{2}（95%）"],
  chartNoBand: ["{0}: last observed {1}, no expectation yet", "{0}：最新实测{1}，尚无预期"],
  storedTo: ["stored up to {0}", "已存至{0}"],
  recorded: ["recorded", "实录数据"],
  simulated: ["simulated", "模拟"],
  real: ["real", "真实"],
  recordedNote: ["A real recording, replayed. {0}", "真实记录的回放数据。{0}"],
  relations: ["Stands on / hangs on", "关联对象"],
  street: ["street", "街道"],
  district: ["district", "区"],
  grid: ["grid cell", "单元网格"],
  cabinet: ["cabinet", "控制箱"],
  feeder: ["feeder", "馈线"],
  pole: ["pole", "灯杆"],
  gateway: ["gateway", "网关"],
  company: ["company", "运输企业"],
  received: ["Received", "已接收"],
  perSecond: ["{0}/s", "{0}/秒"],
  stored: ["Stored", "已入库"],
  unstorable: ["Refused by the store", "存储库拒收"],
  behind: ["Waiting", "待入库"],
  late: ["Late", "迟到"],
  disorder: ["Out of order", "乱序"],
  journalled: ["Journalled", "已落日志"],
  notAccountable: ["not accountable: it sends no numbers", "无法对账：设备不带序号"],
  duplicate: ["Duplicate", "重复"],
  missing: ["Missing", "缺失"],
  rejected: ["Rejected", "拒收"],
  accounting: ["Accounting of readings", "数据对账"],
  showRejects: ["Show rejected messages", "查看拒收报文"],
  rejectsTitle: ["Rejected messages, newest first", "拒收报文（最新在前）"],
  reason: ["Reason", "原因"],
  detail: ["Detail", "说明"],
  topic: ["Topic", "主题"],
  payload: ["Payload", "内容"],
  time: ["Time", "时间"],
  noRejects: ["Nothing was rejected.", "没有拒收报文。"],
  healthGood: ["All systems well", "系统正常"],
  healthBad: ["{0} in trouble", "{0}项异常"],
  offline: ["No connection to the server. The page shows what it last heard; trying again.", "与服务器的连接已断开，页面显示最后收到的数据，正在重连。"],
  noSession: ["Your session has ended. Open the address that the server printed, or ask for a new one with “citywhistle open”.", "会话已结束。请打开服务器给出的地址，或用“citywhistle open”获取新地址。"],
  failed: ["{0} {1}", "{0} {1}"],
  logIn: ["Log in", "登录"],
  logInTitle: ["Log in", "登录"],
  logInHelp: ["No account? Open the address that the server printed, or ask for one with “citywhistle open”.", "没有账号？请打开服务器给出的地址，或用“citywhistle open”获取。"],
  logOut: ["Log out", "退出登录"],
  userName: ["User", "用户名"],
  password: ["Password", "密码"],
  oldPassword: ["Old password", "原密码"],
  newPassword: ["New password", "新密码"],
  changePassword: ["Change password", "修改密码"],
  passwordChanged: ["The password is changed; your other sessions have ended.", "密码已修改，其他会话已结束。"],
  passwordRules: ["At least {0} letters; a few words are fine.", "至少{0}个字符，可用几个词语。"],
  wrongPassword: ["User or password is wrong.", "用户名或密码错误。"],
  tooManyTries: ["Too many tries. Please wait {0} s.", "尝试次数过多，请等待{0}秒。"],
  noCookie: ["The browser keeps no cookie of this page.", "浏览器未保存本页面的Cookie。"],
  sessions: ["Where you are logged in", "已登录的会话"],
  thisSession: ["this one", "当前会话"],
  endSession: ["End", "结束"],
  account: ["Account: {0}", "账号：{0}"],
  guest: ["Guest", "访客"],
  guestSaid: ["You came in by a one-time link, without an account; what you do is recorded under “guest”.", "您通过一次性链接进入，没有账号；操作记录在“guest”名下。"],
  plate: ["Plate", "车牌"],
  reveal: ["Reveal…", "查看明文…"],
  revealTitle: ["Reveal the plate of {0}", "查看{0}的车牌明文"],
  revealWhy: ["Why? Your name and reason are written into the book of reveals.", "请说明理由。您的姓名和理由将记入查阅记录。"],
  revealNow: ["Reveal", "查看"],
  clock_real: ["city time", "城市时间"],
  clock_simulated: ["simulated time", "模拟时间"],
  clock_shifted: ["recording shifted to now", "回放数据已平移至当前"],
  clock_replayed: ["recording in its own time", "按原始时间回放"],
  speed: ["× {0}", "×{0}"],
  language: ["中文", "English"],
  languageLabel: ["切换到中文", "Switch to English"],
  theme_auto: ["◐ Auto", "◐ 自动"],
  theme_dark: ["◐ Dark", "◐ 深色"],
  theme_light: ["◐ Light", "◐ 浅色"],
  themeLabel: ["Theme: {0}", "主题：{0}"],
  largeText: ["Large text", "大字"],
  map: ["Map of the city. Arrow keys move it, plus and minus zoom. Devices can be found by name with the search box.", "城市地图。方向键移动，加减键缩放；可用搜索框按名称查找设备。"],
  zoomIn: ["Zoom in", "放大"],
  zoomOut: ["Zoom out", "缩小"],
  fit: ["Whole city", "全城"],
  find: ["Find a device  /", "查找设备  /"],
  findLabel: ["Find a device by its id", "按编号查找设备"],
  found: ["{0} devices found", "找到{0}台设备"],
  legend: ["Legend", "图例"],
  devices: ["{0} devices", "{0}台设备"],
  ago: ["{0} ago", "{0}前"],
  days: ["{0} d", "{0}天"],
  hours: ["{0} h", "{0}小时"],
  minutes: ["{0} min", "{0}分钟"],
  seconds: ["{0} s", "{0}秒"],
  hoursMinutes: ["{0} h {1} min", "{0}小时{1}分"],
  daysHours: ["{0} d {1} h", "{0}天{1}小时"],
  loading: ["Loading the city…", "正在载入城市…"],
  none: ["–", "–"],
  low: ["Lower bound", "下限"],
  high: ["Upper bound", "上限"],
  reports: ["Reports", "上报次数"],
  detector: ["Detector", "检测方法"],
  score: ["Certainty", "置信度"],
  threshold: ["Threshold", "阈值"],
  permit: ["Permit", "处置证"],
  duration_s: ["Lasted, seconds", "持续秒数"],
  kmh: ["km/h", "公里/小时"],
  limit: ["Limit", "限值"],
  sum: ["Summed evidence", "累计证据"],
  ratio: ["Times its bar", "超出倍数"],
  peers: ["Neighbours compared", "对比邻居数"],
  peers_median: ["Neighbours read", "邻居中位数"],
  neighbours_z: ["Neighbours, scales off", "邻居偏离"],
  minutesAbove: ["Minutes above", "超限分钟"],
  photoOf: ["Photo of {0}", "{0}的照片"],
  scoreCard: ["Score card", "考核评价"],
  scoreOpen: ["Scores", "考核"],
  scoreFrom: ["From", "开始日期"],
  scoreTo: ["To (in the period)", "结束日期（含）"],
  scoreShow: ["Show", "查看"],
  scorePrint: ["Print", "打印"],
  scoreCsv: ["Download CSV", "下载CSV"],
  scoreTotal: ["All", "合计"],
  scoreType: ["By type", "按类型"],
  scoreDistrict: ["By district", "按行政区"],
  scoreStreet: ["By street", "按街道"],
  scoreDepartment: ["By department", "按责任部门"],
  scoreKey: ["Name", "名称"],
  scoreCases: ["Cases", "案件数"],
  scoreOpenCases: ["Open", "未结"],
  scoreInTime: ["In time", "按期率"],
  scoreLate: ["Late", "超期"],
  scoreReopened: ["Reopened", "重开"],
  scoreFalse: ["False", "误报"],
  scoreDispatch: ["To dispatch", "派遣用时"],
  scoreAccept: ["To accept", "受理用时"],
  scoreHandle: ["To handle", "处置用时"],
  scoreVerify: ["To verify", "核查用时"],
  scoreWhole: ["Whole life", "全程用时"],
  scoreMedians: ["Times are medians of the cases that were opened within the days, in the city's time.", "各项用时为所选日期内立案案件的中位数，日期按城市当地时间计。"],
  scoreJudged: ["Evaluations", "评价"],
  scoreMean: ["Mean of 5", "平均分（满分5）"],
  scoreRepeat: ["Repeat offenders", "屡次发生"],
  scoreOwner: ["Company", "所属企业"],
  scoreTypes: ["Types", "类型"],
  scoreNone: ["No case was opened in these days.", "所选日期内没有立案案件。"],
  scoreChildren: ["Symptoms under causes, not counted above: {0}", "归入上级原因的症状（未计入）：{0}"],
  scoreUnsent: ["not sent", "未派遣"],
  judge_citizen: ["Citizens concerned", "相关市民"],
  judge_unit: ["Units concerned", "相关单位"],
  judge_operator: ["Operators", "值班员"],
  skip: ["Skip to the whistles", "跳到吹哨队列"],
  by_operator: ["operator", "值班员"],
  by_guest: ["guest", "访客"],
  by_script: ["script", "脚本"],
  by_city: ["system", "系统"],
  by_system: ["system", "系统"],
} as const satisfies Record<string, readonly [string, string]>;

export type Word = keyof typeof WORDS;

// Case types (a city may have more; those show their own name).
const TYPES: Record<string, readonly [string, string]> = {
  lamp_out: ["Lamp out", "灯具熄灭"], day_burner: ["Burning by day", "白天亮灯"], lamp_degraded: ["Lamp degraded", "灯具劣化"],
  leakage: ["Leakage current", "漏电"], supply_lost: ["Supply lost", "供电中断"], feeder_trip: ["Feeder trip", "馈线跳闸"],
  cabinet_trip: ["Cabinet trip", "控制箱跳闸"], door_open: ["Door open", "箱门开启"], tilt: ["Pole tilted", "灯杆倾斜"],
  tilt_emergency: ["Pole about to fall", "灯杆倾倒危险"], leakage_warn: ["Leakage rising", "漏电预警"],
  charger_fault: ["Charger fault", "充电桩故障"], night_noise: ["Night noise", "夜间噪声"], dust: ["Dust", "扬尘"],
  air_episode: ["Air episode", "空气污染过程"], sensor_stuck: ["Sensor stuck", "传感器卡滞"], sensor_spike: ["Sensor spikes", "传感器尖峰"],
  sensor_drift: ["Sensor drift", "传感器漂移"], sensor_noise: ["Sensor noise", "传感器噪声"], sensor_bias: ["Sensor bias", "传感器偏差"],
  behaviour: ["Unusual behaviour", "行为异常"], device_silent: ["Device silent", "设备无上报"], cell_down: ["Cell down", "基站退服"],
  backhaul_down: ["Backhaul down", "回传中断"], gateway_loss: ["Gateway lost", "网关失联"], sleeping_cell: ["Sleeping cell", "休眠小区"],
  congestion: ["Congestion", "网络拥塞"], access_failures: ["Access failures", "接入失败"], coverage_loss: ["Coverage loss", "覆盖变差"],
  cell_overheated: ["Cell overheated", "基站过热"], interference: ["Interference", "无线干扰"], no_permit: ["No valid permit", "无有效处置证"],
  outside_hours: ["Outside permitted hours", "超时段运输"], off_route: ["Off route", "偏离路线"], illegal_dumping: ["Illegal dumping", "偷倒渣土"],
  unpermitted_loading: ["Unpermitted loading", "违规装载"], cover_open: ["Cover open", "未密闭运输"], overload: ["Overload", "超载"],
  speeding: ["Speeding", "超速"], terminal_tampering: ["Terminal tampering", "破坏终端"], phantom_trip: ["Phantom trip", "去向不明"],
  handover_failures: ["Handover failures", "切换失败"], charger_occupied: ["Charger occupied", "充电位占用"],
  clock_skew: ["Clock off", "时钟偏差"], sensor: ["Sensors in general", "传感器（通用）"],
}; // prettier-ignore

// Departments and node classes that city files commonly name; a city's own names come with the city.
const COMMON: Record<string, readonly [string, string]> = {
  lighting: ["Street lighting", "照明管理"], power: ["Power company", "供电公司"], security: ["Security", "安保"],
  structures: ["Structures", "设施结构"], charging: ["Charging operator", "充电运营商"], environment: ["Environment", "生态环境"],
  urban_management: ["Urban management", "城管执法"], maintenance: ["Maintenance", "设备运维"], mobile_operator: ["Mobile operator", "通信运营商"],
  traffic_police: ["Traffic police", "交警"], waste_management: ["Construction-waste control", "渣土管理"], cabinet: ["cabinet", "控制箱"],
  site: ["construction site", "工地"], disposal: ["disposal site", "消纳场"], district: ["district", "区"], emergency: ["Emergency", "应急"],
}; // prettier-ignore

// States of quantities: the wire's English words in Chinese.
const STATE_ZH: Record<string, string> = {
  off: "关", on: "开", lost: "断电", present: "正常", closed: "关闭", open: "打开", idle: "空闲", charging: "充电中", occupied: "占用",
  fault: "故障", down: "断", up: "通", disabled: "停用", enabled: "启用", cleared: "无告警", warning: "警告", minor: "次要", major: "重要",
  critical: "严重", none: "无", "dead-reckoned": "推算", "2d": "二维", "3d": "三维", raised: "举升", cut: "切断", ok: "正常", absent: "未插卡",
}; // prettier-ignore

// Steps of a case that leave its state as it is, and those that change it (docs/lifecycle.md).
const STEPS: Record<string, readonly [string, string]> = {
  find: ["found", "发现"], file: ["filed", "立案"], dispatch: ["dispatched", "派遣"], accept: ["accepted", "受理"], handle: ["handled", "处置"],
  verify: ["verified", "核查"], close: ["closed", "结案"], evaluate: ["evaluated", "评价"], cancel: ["cancelled", "撤销"], redo: ["to be redone", "返工"],
  return: ["returned", "退回"], transfer: ["transferred", "转办"], merge: ["merged under its cause", "并入上级原因"], split: ["split off", "拆分"],
  reopen: ["reopened", "重新打开"], comment: ["remark", "备注"], attach: ["file attached", "附件"], resend: ["sent again", "重新发送"],
  extend: ["more time asked for", "申请延期"], approve: ["extension granted", "同意延期"], deny: ["extension denied", "拒绝延期"],
  warn: ["deadline is near", "时限临近"], escalate: ["escalated", "升级"], recover: ["telemetry is well again", "遥测恢复"],
  relapse: ["fault shows again", "故障复现"], worsen: ["became more severe", "程度加重"], mute: ["muted", "静默"], digest: ["told in a digest", "汇总通知"],
  delivered: ["delivered", "已送达"], retried: ["sending again", "重试发送"], undelivered: ["could not be delivered", "未能送达"],
  answered: ["device answered", "设备已应答"], unanswered: ["device did not answer", "设备未应答"],
}; // prettier-ignore

// Why a message or value was refused: the words of the API, for reading.
const REASONS: Record<string, readonly [string, string]> = {
  syntax: ["not readable", "无法解析"], shape: ["wrong form", "格式不符"], envelope: ["bad time or number", "时间或序号错误"],
  device: ["foreign device", "设备不符"], quantity: ["unknown quantity", "未知指标"], unit: ["wrong unit", "单位不符"],
  type: ["no number", "类型错误"], range: ["out of range", "超出量程"], topic: ["foreign topic", "主题不符"],
  unknown_device: ["unknown device", "未登记设备"], too_large: ["too large", "报文过大"], empty: ["nothing usable", "无有效内容"],
  flood: ["too many at once", "上报过于频繁"],
}; // prettier-ignore

let language: Language = "en";

export function setLanguage(chosen: Language): void {
  language = chosen;
}

export function spoken(): Language {
  return language;
}

function pick(pair: readonly [string, string]): string {
  return pair[language === "zh" ? 1 : 0];
}

/** A word of the page in the chosen language. */
export function t(word: Word, ...filled: (string | number)[]): string {
  return pick(WORDS[word]).replace(/\{(\d)\}/g, (_, i: string) => String(filled[Number(i)] ?? ""));
}

export function isWord(word: string): word is Word {
  return word in WORDS;
}

/** A word that may be unknown (a state, a relation); then as it is. */
export function tOr(word: string, otherwise: string): string {
  return isWord(word) ? t(word) : otherwise;
}

export function named(both: Named | undefined, otherwise: string): string {
  return both?.[language] || both?.en || otherwise;
}

const HAN = "[\\u3400-\\u9fff]";
const MARKS: [RegExp, string][] = [[",", "，"], [":", "："], [";", "；"]].map(([from, to]) => [new RegExp(`(?<=${HAN})${from} ?|${from} ?(?=${HAN})`, "g"), to!]);

/** A sentence of the city in the chosen language, with the marks that its readers write. */
export function sentence(both: Named): string {
  const told = both[language] || both.en;
  const marks = language === "zh" && both.zh ? MARKS : [];
  return marks.reduce((text, [from, to]) => text.replace(from, to), told);
}

export function typeName(type: string): string {
  const pair = TYPES[type];
  return pair ? pick(pair) : type.replaceAll("_", " ");
}

/** Case types with their names, by name. */
export function typeNames(types: string[]): [string, string][] {
  return types.map((type) => [type, typeName(type)] as [string, string]).sort((a, b) => a[1].localeCompare(b[1], language));
}

export function commonName(id: string): string {
  const pair = COMMON[id];
  return pair ? pick(pair) : id.replaceAll("_", " ");
}

export function reasonName(reason: string): string {
  const pair = REASONS[reason];
  return pair ? pick(pair) : reason;
}

export function stateName(word: string): string {
  return language === "zh" ? (STATE_ZH[word] ?? word) : word;
}

export function stepName(event: string): string {
  const pair = STEPS[event];
  return pair ? pick(pair) : event.replaceAll("_", " ");
}
