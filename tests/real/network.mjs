// A whole Bluesky on the loopback interface: PLC directory, PDS with its OAuth server, AppView.
//
// Prints one line of JSON when it is up, and ends when its standard input does: nobody has to find and stop it.
// What only tests need is asked of a control server:
//   GET    /process     wait until the AppView has indexed everything; answers {"seq": the PDS's last event}
//   GET    /events      every event of the PDS's firehose since the beginning, one JSON object a line, for ever
//   POST   /faults      {path, kind: cut|status|malformed|timeout, status, headers, body, times, after, method}
//   POST   /elsewhere   {"https://a.example": "http://127.0.0.1:1234"}: what the PDS asks of the one it asks of the other
//   POST   /chat        {"url": ...}: where the chat service did:web:api.bsky.chat answers
//   POST   /crowd       {"size": n}: DIDs of n accounts that PLC and the AppView know, and at which nobody sits
// Environment: DB_POSTGRES_URL, REDIS_HOST, RATE_LIMITS (the PDS's own limits; the header x-ratelimit-bypass with
// BYPASS_KEY goes past them).
import http from 'node:http'
import { TestNetwork, createDidAndKey } from '@atproto/dev-env'
import { lexToJson } from '@atproto/lex-json'
import { Firehose } from '@atproto/sync'

const CHAT_DID = 'did:web:api.bsky.chat'
const LOOPBACK = '127.0.0.1'

const elsewhere = new Map()
let chatUrl = null
const faults = []
const events = []
const readers = new Set()

// The PDS fetches a client's metadata and keys over https; here they come from a loopback port.
const realFetch = globalThis.fetch
globalThis.fetch = function (input, init) {
  const url = typeof input === 'string' ? input : input instanceof URL ? input.href : input.url
  for (const [from, to] of elsewhere) {
    if (url !== from && !url.startsWith(from + '/')) continue
    const how = input instanceof Request ? { headers: input.headers, method: input.method, signal: input.signal } : init
    return realFetch.call(this, to + url.slice(from.length), how)
  }
  return realFetch.call(this, input, init)
}

const network = await TestNetwork.create({
  dbPostgresUrl: process.env.DB_POSTGRES_URL,
  dbPostgresSchema: 'real',
  pds: {
    hostname: 'localhost',
    enableDidDocWithSession: true,
    ...(process.env.RATE_LIMITS
      ? { rateLimitsEnabled: true, rateLimitBypassKey: process.env.BYPASS_KEY }
      : {}),
  },
})
const { plc, pds, bsky } = network

const dids = pds.ctx.idResolver.did
const resolveReally = dids.resolveNoCache
dids.resolveNoCache = async (did) => {
  if (did !== CHAT_DID || chatUrl === null) return resolveReally.call(dids, did)
  const service = [{ id: '#bsky_chat', type: 'BskyChatService', serviceEndpoint: chatUrl }]
  return { '@context': ['https://www.w3.org/ns/did/v1'], id: did, service }
}

// Requests to the PDS that are to fail, as bot/sandbox/faults.py plans them.
const front = pds.server.server
const answerReally = front.listeners('request')
front.removeAllListeners('request')
front.on('request', (request, response) => {
  const path = request.url.split('?')[0]
  const fault = faults.find(
    (each) => each.times > 0 && path.includes(each.path) && (!each.method || each.method === request.method),
  )
  // Requests with the header by which people go past the limits go past the faults as well: they are meant for the bot.
  if (!fault || 'x-ratelimit-bypass' in request.headers) return answerReally.forEach((answer) => answer.call(front, request, response))
  fault.times -= 1
  if (fault.after) {
    // Carried out; only the answer is lost.
    response.write = () => true
    response.writeHead = () => response
    response.flushHeaders = () => {}
    response.end = () => {
      fail(fault, request.socket)
      return response
    }
    return answerReally.forEach((answer) => answer.call(front, request, response))
  }
  request.resume()
  request.on('end', () => fail(fault, request.socket))
})

function fail(fault, socket) {
  if (fault.kind === 'timeout') return
  if (fault.kind === 'cut') return socket.destroy()
  const status = fault.kind === 'malformed' ? 200 : fault.status
  const body = fault.kind === 'malformed' ? '{"half a JSON' : fault.body
  const headers = { 'content-type': 'application/json', ...fault.headers, 'content-length': Buffer.byteLength(body) }
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
  socket.end(`HTTP/1.1 ${status} Planned\r\n${lines.join('')}connection: close\r\n\r\n${body}`)
}

function tell(event) {
  const line = JSON.stringify(event) + '\n'
  events.push(line)
  for (const reader of readers) reader.write(line)
}

async function handleOf(did) {
  const { alsoKnownAs } = await plc.getClient().getDocumentData(did)
  return alsoKnownAs[0]?.replace('at://', '') ?? null
}

const firehose = new Firehose({
  service: pds.url.replace('http', 'ws'),
  idResolver: pds.ctx.idResolver,
  unauthenticatedCommits: true,
  unauthenticatedHandles: true,
  getCursor: () => 0,
  onError: (error) => console.error(error),
  handleEvent: async ({ seq, event, did, active, status, collection, rkey, cid, record }) => {
    if (event === 'identity') tell({ seq, event, did, handle: await handleOf(did) })
    else if (event === 'account') tell({ seq, event, did, active, status: status ?? null })
    else if (collection)
      tell({ seq, event, did, collection, rkey, cid: cid?.toString() ?? null, value: record ? lexToJson(record) : null })
    else tell({ seq, event, did })
  },
})
void firehose.start()

async function body(request) {
  const parts = []
  for await (const part of request) parts.push(part)
  return JSON.parse(Buffer.concat(parts).toString())
}

const crowd = []

async function grow(size) {
  for (let number = crowd.length; number < size; number++) {
    const { did } = await createDidAndKey({ plcUrl: plc.url, handle: `crowd${number}.test`, pds: pds.url })
    await bsky.sub.indexingSvc.indexHandle(did, new Date().toISOString())
    crowd.push(did)
  }
}

const routes = {
  'GET /process': async () => {
    await network.processAll()
    return { seq: (await pds.ctx.sequencer.curr()) ?? 0 }
  },
  'POST /faults': async (request) => {
    faults.push(await body(request))
    return {}
  },
  'POST /elsewhere': async (request) => {
    for (const [from, to] of Object.entries(await body(request))) elsewhere.set(from, to)
    return {}
  },
  'POST /crowd': async (request) => {
    const { size } = await body(request)
    await grow(size)
    return { dids: crowd.slice(0, size) }
  },
  'POST /chat': async (request) => {
    chatUrl = (await body(request)).url
    await dids.cache?.clearEntry(CHAT_DID)
    return {}
  },
}

const control = http.createServer(async (request, response) => {
  if (request.method === 'GET' && request.url === '/events') {
    response.writeHead(200, { 'content-type': 'application/x-ndjson' })
    response.write(events.join(''))
    readers.add(response)
    response.on('close', () => readers.delete(response))
    return
  }
  try {
    const answer = await routes[`${request.method} ${request.url}`](request)
    response.end(JSON.stringify(answer))
  } catch (error) {
    response.statusCode = 500
    response.end(JSON.stringify({ error: String(error) }))
  }
})
await new Promise((ready) => control.listen(0, LOOPBACK, ready))

console.log(
  JSON.stringify({
    pds: pds.url,
    plc: plc.url,
    appview: bsky.url,
    control: `http://${LOOPBACK}:${control.address().port}`,
    admin: pds.adminAuth(),
    bypass: process.env.RATE_LIMITS ? process.env.BYPASS_KEY : null,
  }),
)

process.stdin.resume()
process.stdin.on('end', () => {
  setTimeout(() => process.exit(0), 5000).unref()
  network.close().finally(() => process.exit(0))
})
