/** What an address is counted as, and which cannot come from the open internet. */
import t from 'tap'
import { isLocal, networkOf } from '../../lib/core/address.ts'

t.test('an IPv4 address is counted as itself, an IPv6 address as its /64, in whatever form it is written', (t) => {
  const rows: Array<[address: string, network: string]> = [
    ['203.0.113.7', '203.0.113.7'],
    ['203.0.113.7:51234', '203.0.113.7'],
    ['::ffff:203.0.113.7', '203.0.113.7'],
    ['::FFFF:203.0.113.7', '203.0.113.7'],
    ['::ffff:cb00:7107', '203.0.113.7'],
    ['0:0:0:0:0:ffff:203.0.113.7', '203.0.113.7'],
    ['[::ffff:203.0.113.7]:443', '203.0.113.7'],
    ['::ffff:0:203.0.113.7', '203.0.113.7'],
    ['64:ff9b::203.0.113.7', '203.0.113.7'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:0db8:0001:0002:ffff:ffff:ffff:ffff', '2001:db8:1:2::/64'],
    ['2001:DB8:1:2::', '2001:db8:1:2::/64'],
    ['2001:db8:1:2::1', '2001:db8:1:2::/64'],
    ['[2001:db8:1:2::1]', '2001:db8:1:2::/64'],
    ['[2001:db8:1:2::1]:443', '2001:db8:1:2::/64'],
    ['2001:db8::1', '2001:db8:0:0::/64'],
    ['2001:db8:1:3::1', '2001:db8:1:3::/64'],
    ['::1', '0:0:0:0::/64'],
    ['::', '0:0:0:0::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['unknown', 'unknown'],
    ['_hidden', '_hidden'],
    ['', ''],
    ['2001:db8:::1', '2001:db8:::1'],
    ['[', ''],
    ['[2001:db8::1', ''],
    ['x'.repeat(10_000), 'x'.repeat(64)],
    [`${'1:'.repeat(5000)}1`, `${'1:'.repeat(32)}`]
  ]
  for (const [address, network] of rows) t.equal(networkOf(address), network, address.slice(0, 50))
  t.end()
})

t.test('private, link-local and loopback addresses are local, their neighbours are not', (t) => {
  const local = ['10.0.0.1', '10.255.255.255', '172.16.0.1', '172.31.255.255', '192.168.1.1', '127.0.0.1', '127.8.8.8', '169.254.1.1', '100.64.0.1', '100.127.255.255',
    '::1', '0:0:0:0:0:0:0:1', '::ffff:127.0.0.1', '::ffff:10.1.2.3', '::ffff:a01:203', 'fc00::1', 'fd12:3456:789a::1', 'fe80::1', 'fe80::1%eth0', 'febf::1', '[fd00::1]:80', '64:ff9b::10.0.0.1', '10.0.0.1:80']
  const others = ['9.255.255.255', '11.0.0.1', '172.15.0.1', '172.32.0.1', '172.160.0.1', '192.169.0.1', '192.16.8.1', '126.0.0.1', '128.0.0.1', '169.253.0.1', '100.63.0.1', '100.128.0.1', '100.6.0.1',
    '1.10.0.0', '::2', '::', '::ffff:8.8.8.8', '2001:db8::1', 'fbff::1', 'fe00::1', 'fec0::1', 'unknown', '', 'localhost', '10', '1', '127:0:0:1']
  for (const address of local) t.ok(isLocal(address), address)
  for (const address of others) t.notOk(isLocal(address), address)
  t.end()
})
