-- id: sold-while-leased
-- title: Devices sold or offered while they are let
-- title-zh: 租赁期间被转让或出售的设备
-- clause: second-hand trade rules, art. 4: what is let, and whose rent is sold, is not sold over the lessee's and creditor's heads
-- clause-zh: 二手设备交易规则第四条：在租设备及租金债权已转让的设备，不得绕过承租人和债权人出售
-- severity: critical
-- subject: device
-- each: lease_id
-- owner: lessor
SELECT lease.device AS device,
       lease.lease_id AS lease_id,
       lease.owner AS lessor,
       lease.lessee AS lessee,
       lease.payee AS creditor,
       device.owner AS owner_now,
       CASE WHEN device.owner <> lease.owner THEN 'sold' ELSE 'offered' END AS breach
FROM leasing.lease AS lease
JOIN device_registry.device AS device ON device.device_id = lease.device
WHERE lease.state IN ('agreed', 'delivered', 'active', 'overdue', 'defaulted', 'returning', 'buying')
  AND (device.owner <> lease.owner
       OR EXISTS (SELECT 1 FROM second_hand.trade AS trade
                  WHERE trade.device = lease.device
                    AND trade.state IN ('offered', 'agreed', 'escrowed', 'inspected', 'approved')))
ORDER BY lease.device, lease.lease_id
