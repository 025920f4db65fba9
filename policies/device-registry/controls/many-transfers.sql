-- id: many-transfers
-- title: Devices that changed hands unusually often
-- title-zh: 转让次数异常的设备
-- clause: device registry rules, art. 9: the chain of owners is plausible
-- clause-zh: 设备登记规则第九条：所有权转让记录应当合理
-- severity: low
-- subject: device_id
-- owner: owner
SELECT device_id, owner, maker, transfers
FROM device_registry.device
WHERE state <> 'revoked' AND transfers > :most
ORDER BY device_id
