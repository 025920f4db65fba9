-- id: unapproved-certificate
-- title: Certificates with a role that the member had not approved
-- title-zh: 未经成员批准即含其角色的证书
-- clause: device registry rules, art. 11: who acts in a member's name has that member's word on the ledger, directly or by delegation
-- clause-zh: 设备登记规则第十一条：以成员名义行事者，须有该成员记于账本的直接批准或授权
-- severity: critical
-- subject: serial
-- each: role
-- owner: member
SELECT certificate.serial AS serial,
       role.value AS role,
       certificate.owner AS member,
       certificate.subject AS holder,
       certificate.status AS status,
       certificate.recorded AS issued_at
FROM ledger.certificates AS certificate
JOIN ledger.certificate_rights AS rights
  ON rights.serial = certificate.serial
JOIN json_each(rights.roles) AS role
-- The member's own approval of the key that was the last before the certificate.
WHERE NOT EXISTS (
  SELECT 1
  FROM ledger.declarations AS approval
  JOIN json_each(approval.roles) AS approved
  WHERE approval.what = 'approval'
    AND approval.member = certificate.owner
    AND approval.identity = certificate.identity
    AND approval.log_index = (
      SELECT MAX(latest.log_index)
      FROM ledger.declarations AS latest
      WHERE latest.what = 'approval'
        AND latest.member = certificate.owner
        AND latest.identity = certificate.identity
        AND latest.log_index <= rights.log_index)
    AND (approval.until IS NULL OR approval.until >= certificate.recorded)
    AND approved.value = role.value)
-- What the member let the authority approve.
  AND NOT EXISTS (
  SELECT 1
  FROM ledger.declarations AS delegation
  JOIN json_each(delegation.roles) AS delegated
  WHERE delegation.what = 'delegation'
    AND delegation.member = certificate.owner
    AND delegation.log_index = (
      SELECT MAX(latest.log_index)
      FROM ledger.declarations AS latest
      WHERE latest.what = 'delegation'
        AND latest.member = certificate.owner
        AND latest.log_index <= rights.log_index)
    AND (delegation.until IS NULL OR delegation.until >= certificate.recorded)
    AND delegated.value = role.value)
-- The member's node, which needs no second word but to administer.
  AND (role.value = 'administrator' OR NOT EXISTS (
  SELECT 1
  FROM ledger.declarations AS node
  WHERE node.what = 'node-key'
    AND node.member = certificate.owner
    AND node.identity = certificate.identity
    AND IFNULL(node.log_index, -1) = (
      SELECT MAX(IFNULL(latest.log_index, -1))
      FROM ledger.declarations AS latest
      WHERE latest.what = 'node-key'
        AND latest.member = certificate.owner
        AND IFNULL(latest.log_index, -1) <= rights.log_index)))
ORDER BY certificate.serial, role.value
