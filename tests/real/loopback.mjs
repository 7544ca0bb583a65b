// Loaded before the network: servers that name no host listen on the loopback interface only.
import net from 'node:net'

const listen = net.Server.prototype.listen
net.Server.prototype.listen = function (first, ...others) {
  if (typeof first === 'number' || /^\d+$/.test(first)) {
    if (typeof others[0] === 'string') others.shift()
    return listen.call(this, first, '127.0.0.1', ...others)
  }
  if (typeof first === 'object' && first !== null && 'port' in first) first = { ...first, host: '127.0.0.1' }
  return listen.call(this, first, ...others)
}
