-- id: serial-twice
-- title: Parts whose serial number is there twice
-- title-zh: 序列号重复的备件
-- clause: maintenance rules, art. 9: a serial number is one part's, used once
-- clause-zh: 设备维修规则第九条：一个序列号对应一件备件，只能使用一次
-- severity: high
-- subject: part_id
-- each: other_id
-- owner: supplier
SELECT one.part_id AS part_id,
       other.part_id AS other_id,
       one.owner AS supplier,
       one.kind AS kind,
       one.serial AS serial,
       one.device AS device
FROM maintenance.part AS one
JOIN maintenance.part AS other
  ON other.kind = one.kind AND other.serial = one.serial AND other.part_id <> one.part_id
ORDER BY one.part_id, other.part_id
